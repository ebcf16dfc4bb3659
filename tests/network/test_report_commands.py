"""A report by commands and real processes: sent without a wallet to an advocate whom the chain knows, and filed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.chain import warmline
from support.commands import PASSPHRASE, Lines, Network, Program, run
from support.evidence import bundle_about
from warmline.chain.manifest import read_manifest
from warmline.chain.wallet import dev_wallet

ISSUER, ADVOCATE, RESPONDENT = "1", "2", 3
CASES = "nine quiet lamps"


@dataclass
class Place:
    """A chain, two nodes that follow it, and an advocate with a card."""

    folder: Path
    network: Network
    chain: tuple[str, ...]

    def data(self, name: str) -> tuple[str, str]:
        return "--data", str(self.folder / name)

    def ok(self, *words: str, passphrase: str = "", cases: str = "") -> Any:
        """A command that works, as its JSON."""
        done = run(*words, "--json", passphrase=passphrase, cases=cases)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("reports")
    chain = Lines(warmline("chain", "dev", "--data", str(folder / "chain"), "--port", "0"), log=folder / "chain.log")
    network = Network(folder)
    try:
        url = ""
        while not url:
            url = next((word for word in chain.next_line().split() if word.startswith("http://")), "")
        made = Place(folder, network, ("--chain", url, "--manifest", str(folder / "chain" / "manifest.json")))
        for _ in range(2):
            network.start_node(*made.chain)
        for node in network.nodes:
            node.wait_status("nodes_known", lambda known: known == 2)
        accredit(made)
        yield made
    finally:
        network.close()
        chain.close()


def accredit(place: Place) -> None:
    """The advocate's credential, quota and card."""
    address = dev_wallet(int(ADVOCATE)).shown
    place.ok("issuer", "register", "--type", "report-advocate", "--dev-account", ISSUER, *place.chain)
    place.ok("issuer", "issue", address, "report-advocate", "--days", "90", "--dev-account", ISSUER, *place.chain)
    place.ok("advocate", "accredit", address, "--quota", "5", "--dev-account", "0", *place.chain)
    place.ok("supporter", "register", "--dev-account", ADVOCATE, *place.chain, *place.data("advocate"))
    words = ("--name", "Open Ear", "--language", "en", "--topic", "reports", "--credential", "report-advocate")
    card = place.ok("supporter", "card", *words, *place.network.entry, *place.data("advocate"), passphrase=PASSPHRASE)
    assert card["verified"]


@pytest.fixture
def evidence(place: Place) -> Path:
    manifest = read_manifest(place.folder / "chain" / "manifest.json")
    where = manifest.chain_id, manifest.address("DelegateRegistry")
    path = place.folder / "bundle"
    path.write_bytes(bundle_about(dev_wallet(RESPONDENT), *where, ["You could pay me."], own="I am scared."))
    return path


def test_a_report_reaches_the_chain_without_a_wallet(place: Place, evidence: Path) -> None:
    at = (*place.network.entry, *place.data("advocate"))
    serving = Program(place.folder, "advocate", "intake", *at, passphrase=PASSPHRASE, cases=CASES)
    try:
        serving.wait("intake")
        sent = place.ok("report", "send", str(evidence), *place.network.entry)
        assert sent["advocate"] == "Open Ear"
        assert sent["reference"] in sent["answer"]
        assert serving.wait("report")["reference"] == sent["reference"]
    finally:
        serving.end()
        serving.close()
    held = place.data("advocate")
    waiting = place.ok("advocate", "received", *held, *place.chain, cases=CASES)
    assert [one["reference"] for one in waiting] == [sent["reference"]]
    filed = place.ok("advocate", "file", sent["reference"], "--dev-account", ADVOCATE, *held, *place.chain, cases=CASES)
    assert filed["state"]["report"]["phase"] == "filed"
    assert filed["state"]["report"]["respondent"] is None
    assert place.ok("advocate", "received", *held, *place.chain, cases=CASES) == []
    # What lies on the advocate's disk shows neither words nor the person they are about.
    stored = b"".join(path.read_bytes() for path in (place.folder / "advocate").iterdir())
    assert b"You could pay me." not in stored
    assert dev_wallet(RESPONDENT).address not in stored


def test_an_advocate_is_not_offered_to_talk_to(place: Place) -> None:
    words = ("talk", "--adult", "--json", "--with", "Open Ear", *place.network.entry)
    done = run(*words)
    assert done.returncode == 1
    assert "nobody who fits" in done.stderr


def test_evidence_that_was_changed_goes_nowhere(place: Place, evidence: Path) -> None:
    changed = place.folder / "changed"
    changed.write_bytes(evidence.read_bytes().replace(b"pay me", b"pay us"))
    done = run("report", "send", str(changed), "--yes", *place.network.entry)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
