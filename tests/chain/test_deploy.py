"""The deployment: once, again, cut off anywhere, and on chains that disagree with it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from support.chain import PATIENCE_S, Actors, Opened, anvil, devchain, embedded, needs_anvil, on_both_chains, open_anvil
from warmline.chain.contracts import Contracts, type_id_of
from warmline.chain.deployer import DeploymentError, Done, Plan, deploy, estimate
from warmline.chain.deployment import Create, Expect, sendings
from warmline.chain.devchain import dev_terms
from warmline.chain.errors import JournalError
from warmline.chain.manifest import read_manifest
from warmline.chain.plans import Terms, dev_plan, live_plan, parse_terms, read_terms
from warmline.chain.provider import Rpc
from warmline.chain.wallet import Wallet, create_keystore, dev_wallet
from warmline.env import run_in_thread
from warmline_protocol.errors import ConfigError, UsageError

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = [sys.executable, str(ROOT / "deploy/contracts/deploy.py")]
PAYER = 8  # an account that nothing else uses, so that the dev chain's own contracts do not matter
on_both = on_both_chains(embedded, anvil)


def payer() -> Wallet:
    return dev_wallet(PAYER)


def live_terms() -> Terms:
    return replace(
        dev_terms(),
        council=dev_wallet(1).address,
        guardian=dev_wallet(2).address,
        panel=dev_wallet(3).address,
        timelock_s=1209600,
    )


def plan() -> Plan:
    return live_plan(live_terms())


async def count(rpc: Rpc) -> int:
    return int(await rpc.call("eth_getTransactionCount", payer().shown, "latest"), 16)


@on_both
async def test_it_deploys_verifies_and_then_only_checks(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "manifest.json"
    async with opened(tmp_path) as rpc:
        seen: list[Done] = []
        made = await deploy(rpc, payer(), plan(), path, run_in_thread, seen.append)
        assert read_manifest(path) == made
        assert not any(done.resumed for done in seen)
        assert len(seen) == len(plan().steps) == await count(rpc)
        before, seen = path.read_bytes(), []
        assert await deploy(rpc, payer(), plan(), path, run_in_thread, seen.append) == made
        assert all(done.resumed for done in seen)
        assert path.read_bytes() == before
        assert await count(rpc) == len(plan().steps)


@on_both
async def test_what_a_node_needs_works_with_the_manifest(tmp_path: Path, opened: Opened) -> None:
    async with opened(tmp_path) as rpc:
        made = dev_plan(dev_terms())
        manifest = await deploy(rpc, payer(), made, tmp_path / "m.json", run_in_thread)
        act = Actors(rpc, Contracts(rpc, manifest))
        one, who, kind = act.issuer.address, act.supporter.address, type_id_of("peer-supporter")
        await act.do(payer(), act.contracts.admit_issuer(one, bytes(32)))
        await act.do(act.issuer, act.contracts.register_type(kind, bytes(32)))
        await act.do(act.issuer, act.contracts.issue(who, kind, await act.time_s() + 86_400))
        assert await act.contracts.is_valid(who, kind)


@pytest.mark.parametrize("stop", range(0, 12, 3))
async def test_cut_off_after_any_transaction_it_goes_on(tmp_path: Path, stop: int) -> None:
    path = tmp_path / "manifest.json"
    async with embedded(tmp_path) as rpc:
        with trio.CancelScope() as scope:
            seen: list[Done] = []

            def tell(done: Done) -> None:
                seen.append(done)
                if len(seen) > stop:
                    scope.cancel()

            await deploy(rpc, payer(), plan(), path, run_in_thread, tell)
        assert not path.exists()
        again: list[Done] = []
        await deploy(rpc, payer(), plan(), path, run_in_thread, again.append)
        assert [done.resumed for done in again][: stop + 1] == [True] * (stop + 1)
        assert await count(rpc) == len(plan().steps)


async def test_signed_and_written_but_never_sent_is_sent(tmp_path: Path) -> None:
    """Killed between the disk and the wire; and with a torn line, in the middle of the next write."""
    path = tmp_path / "manifest.json"
    journal = tmp_path / "manifest.json.journal"
    async with embedded(tmp_path / "one") as rpc, embedded(tmp_path / "two") as other:
        # The same account on a twin that has seen nothing yet: the journal of the first run is all that it gets.
        await deploy(rpc, payer(), plan(), path, run_in_thread)
        lines = journal.read_bytes().splitlines(keepends=True)
        genesis = [(await each.call("eth_getBlockByNumber", "0x0", False))["hash"] for each in (rpc, other)]
        if genesis[0] != genesis[1]:  # genesis carries the time: make the head the twin's
            import zlib

            body = lines[0].split(b" ", 1)[1].replace(genesis[0].encode(), genesis[1].encode()).rstrip(b"\n")
            lines[0] = b"%08x %s\n" % (zlib.crc32(body), body)
        journal.write_bytes(b"".join(lines[:3]) + lines[3][:40])
        path.unlink()
        seen: list[Done] = []
        await deploy(other, payer(), plan(), path, run_in_thread, seen.append)
        assert [done.resumed for done in seen][:3] == [True, True, False]
        assert await count(other) == len(plan().steps)


@needs_anvil
async def test_kill_minus_nine_in_the_middle(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    async with open_anvil() as rpc:
        command = [*SCRIPT, "--rpc", rpc.url, "--manifest", str(manifest), "--dev"]
        child = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        with trio.fail_after(PATIENCE_S):
            await child.stdout.receive_some()  # the first transaction was mined
            child.kill()
            await child.wait()
            await child.stdout.aclose()
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        assert done.returncode == 0, done.stderr
        assert b"sent by an earlier run" in done.stdout
        assert read_manifest(manifest).chain_id == 31337


async def test_on_another_chain_or_with_other_terms_it_stops(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    async with embedded(tmp_path) as rpc:
        await deploy(rpc, payer(), plan(), path, run_in_thread)
        other = live_plan(replace(live_terms(), window_s=61))
        with pytest.raises(UsageError, match="other terms") as caught:
            await deploy(rpc, payer(), other, path, run_in_thread)
        assert "another --manifest" in caught.value.hint
        with pytest.raises(UsageError, match="another account"):
            await deploy(rpc, dev_wallet(7), plan(), path, run_in_thread)


async def test_an_account_that_did_something_else_meanwhile_is_told(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    async with embedded(tmp_path) as rpc:
        with trio.CancelScope() as scope:
            await deploy(rpc, payer(), plan(), path, run_in_thread, lambda _: scope.cancel())
        stray = dev_plan(dev_terms())
        with trio.CancelScope() as scope:
            await deploy(rpc, payer(), stray, tmp_path / "other.json", run_in_thread, lambda _: scope.cancel())
        with pytest.raises(DeploymentError, match=r"other transactions|refused"):
            await deploy(rpc, payer(), plan(), path, run_in_thread)


async def test_wiring_that_is_not_as_planned_is_no_success(tmp_path: Path) -> None:
    async with embedded(tmp_path) as rpc:
        good = dev_plan(dev_terms())
        bad = Plan(good.steps, (*good.expects, Expect("ConductEpochs", "WINDOW", (), 61)))
        with pytest.raises(DeploymentError, match="WINDOW answers"):
            await deploy(rpc, payer(), bad, tmp_path / "manifest.json", run_in_thread)
        assert not (tmp_path / "manifest.json").exists()


async def test_the_deployer_keeps_no_rights_and_the_council_none_at_once(tmp_path: Path) -> None:
    async with embedded(tmp_path) as rpc:
        manifest = await deploy(rpc, payer(), plan(), tmp_path / "manifest.json", run_in_thread)
        act = Actors(rpc, Contracts(rpc, manifest))
        from warmline.chain.errors import RevertError

        for wallet in (payer(), dev_wallet(1), dev_wallet(2), dev_wallet(3)):
            with pytest.raises(RevertError, match="governance"):
                await act.do(wallet, act.contracts.admit_issuer(act.sponsor.address, bytes(32)))
        await act.do(dev_wallet(2), act.contracts.pause_issuing(await act.time_s() + 3600))  # the guardian
        with pytest.raises(RevertError):
            await act.do(payer(), act.contracts.pause_issuing(await act.time_s() + 3600))


async def test_two_runs_at_once_do_not_mix(tmp_path: Path) -> None:
    from warmline.chain.journal import Journal

    with Journal(tmp_path / "manifest.json.journal"):
        async with embedded(tmp_path) as rpc:
            with pytest.raises(JournalError, match="another deployment"):
                await deploy(rpc, payer(), plan(), tmp_path / "manifest.json", run_in_thread)


async def test_a_dry_run_tells_the_gas_and_sends_nothing(tmp_path: Path) -> None:
    async with embedded(tmp_path) as rpc:
        start = await rpc.call("eth_blockNumber")
        found = await estimate(rpc, plan(), run_in_thread, 1_800_000_000)
        assert await rpc.call("eth_blockNumber") == start
        assert [says for says, _ in found.steps] == [one.says for one in sendings(plan().steps, bytes(20), 0)]
        assert found.cost == found.gas * found.fee_per_gas > 0


async def test_a_dry_run_is_what_the_deployment_takes(tmp_path: Path) -> None:
    async with embedded(tmp_path) as rpc:
        seen: list[Done] = []
        made = await estimate(rpc, plan(), run_in_thread, 1_800_000_000)
        await deploy(rpc, payer(), plan(), tmp_path / "manifest.json", run_in_thread, seen.append)
        # A byte of an address more or less that is zero is 12 gas.
        assert all(abs(gas - done.gas) < 2_000 for (_, gas), done in zip(made.steps, seen, strict=True))


def test_the_command_on_a_live_wallet(tmp_path: Path) -> None:
    wallet = create_keystore(tmp_path / "wallet.json", "four words of one", os.urandom(32), rounds=2)
    addresses = {"council": 1, "guardian": 2, "panel": 3}
    lines = [f'{name} = "{dev_wallet(index).shown}"' for name, index in addresses.items()]
    lines += [f'collectors = ["{dev_wallet(5).shown}"]', "threshold = 1"]
    (tmp_path / "terms.toml").write_text("\n".join(lines))

    async def run() -> None:
        async with devchain(tmp_path / "chain") as running:
            command = [*SCRIPT, "--rpc", running.url, "--manifest", str(tmp_path / "m.json")]
            command += ["--terms", str(tmp_path / "terms.toml"), "--wallet", str(tmp_path / "wallet.json")]
            dry = await trio.run_process([*command, "--dry-run"], capture_stdout=True, capture_stderr=True)
            assert b"nothing was sent" in dry.stdout
            assert b"create CredentialRegistry" in dry.stdout
            (tmp_path / "words").write_text("four words of one\n")
            shell = ["sh", "-c", 'exec "$@" --passphrase-fd 3 3<words', "sh", *command]
            poor = await trio.run_process(shell, cwd=tmp_path, check=False, capture_stdout=True, capture_stderr=True)
            assert poor.returncode == 1
            assert b"coin" in poor.stderr  # it holds nothing
            assert wallet.shown.encode() in poor.stderr

    trio.run(run)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"council": None}, "council must be given"),
        ({"council": "0x12"}, "not an Ethereum address"),
        ({"council": 5}, "in quotes"),
        ({"guardian": "0x" + "00" * 20}, "must not be zero"),
        ({"collectors": "0x" + "11" * 20}, "list of addresses"),
        ({"threshold": 0}, "at least 1"),
        ({"window": 5}, "unknown window"),
    ],
)
def test_terms_that_are_wrong_are_named(change: dict[str, object], wrong: str) -> None:
    who = "0x" + "11" * 20
    content = {"council": who, "guardian": who, "panel": who, "collectors": [who], "threshold": 1} | change
    with pytest.raises((ConfigError, UsageError), match=wrong):
        parse_terms({name: value for name, value in content.items() if value is not None}, "terms")


def test_the_example_of_terms_must_be_filled_in(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must not be zero"):
        read_terms(ROOT / "deploy/contracts/terms.example.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        read_terms(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("council = ")
    with pytest.raises(ConfigError, match="not TOML"):
        read_terms(tmp_path / "bad.toml")


def test_addresses_are_those_of_the_yellow_paper() -> None:
    # The worked example of every client's tests.
    sender = bytes.fromhex("6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0")
    first, second = sendings([Create("AccessManager", (sender,)), Create("DelegateRegistry", (sender,))], sender, 0)
    assert first.address is not None
    assert second.address is not None
    assert first.address.hex() == "cd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"
    assert second.address.hex() == "343c43a37d37dff08ae8c4a11544c718abb4fcf8"
