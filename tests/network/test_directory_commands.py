"""`warmline groups publish|find|withdraw` against real nodes, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trio
from click.testing import CliRunner

from support import records as make
from support.directories import DirectoryNode, a_network
from support.hosts import PATIENCE
from warmline.chain.supporter import SupporterFiles
from warmline.cli import groups
from warmline.client.identity import IdentityFiles
from warmline.env import SystemClock
from warmline_protocol.records.envelope import LISTING, TOMBSTONE, record_id

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "weekly_programme.toml"


async def typed(*words: str) -> Any:
    """Run a command in a thread of its own, as its own Trio program."""
    return await trio.to_thread.run_sync(lambda: CliRunner().invoke(groups.command, list(words)))


async def wait_listings(node: DirectoryNode, count: int) -> None:
    while node.directory.statistics()["listings"] != count:
        await node.directory.wait_change()


async def test_a_week_is_published_found_and_one_group_withdrawn(tmp_path: Path) -> None:
    SupporterFiles(tmp_path).make_device_key(make.key("ana").seed)
    IdentityFiles(tmp_path).keep_card(make.signed_card(wallet=False, at_ms=SystemClock().utc_ms()))
    async with a_network("a", "b", "c") as nodes:
        entry = ["--entry", nodes[0].addr]
        with trio.fail_after(4 * PATIENCE):
            said = await typed("publish", str(EXAMPLE), "--data", str(tmp_path), *entry)
            assert said.exit_code == 0, said.output
            assert "The worry hour" in said.output
            count = said.output.count("\nok ") + said.output.startswith("ok ")
            assert count >= 24
            for node in nodes:
                await wait_listings(node, count)
            said = await typed("find", "--language", "de", "--zone", "Europe/Berlin", "--json", *entry)
            found = json.loads(said.output)
            assert "nach-der-diagnose" in {group["id"] for group in found["groups"]}
            assert all({"de", "de-AT"} & set(group["languages"]) for group in found["groups"])
            assert found["operators"] == 3
            assert any("entry also served" in weakness for weakness in found["weak"])
            said = await typed("find", "--topic", "grief", "--zone", "Europe/Dublin", *entry)
            assert "A table for grief" in said.output, repr(said.exception)
            assert "stayed on this device" in " ".join(said.output.split())
            said = await typed("withdraw", "grief-table", "--data", str(tmp_path), *entry)
            assert said.exit_code == 0, said.output
            for node in nodes:
                await wait_listings(node, count - 1)
            held = nodes[1].directory.record(record_id(LISTING, make.key("ana").public, "grief-table"))
            assert held is not None
            assert held.kind == TOMBSTONE
            said = await typed("find", "--topic", "grief", "--json", *entry)
            assert "grief-table" not in {group["id"] for group in json.loads(said.output)["groups"]}


async def test_what_is_kept_is_shown_without_a_network_and_can_be_forgotten(tmp_path: Path) -> None:
    kept = ["--data", str(tmp_path / "talk")]
    async with a_network("a", "b", "c") as nodes:
        entry = ["--entry", nodes[0].addr]
        with trio.fail_after(4 * PATIENCE):
            await nodes[1].directory.publish(make.signed_listing(at_ms=SystemClock().utc_ms(), topics=("grief",)))
            for node in nodes:
                await wait_listings(node, 1)
            said = await typed("find", "--json", *kept, *entry)
            assert len(json.loads(said.output)["groups"]) == 1
            assert not (tmp_path / "talk").exists(), "nothing is kept unless it was asked for"
            said = await typed("find", "--keep", "--topic", "no-such-topic", "--json", *kept, *entry)
            assert json.loads(said.output)["groups"] == []
            assert json.loads(said.output)["age_ms"] is None
            (file,) = (tmp_path / "talk").iterdir()
            assert b"no-such-topic" not in file.read_bytes(), "the search is not in it"
    with trio.fail_after(4 * PATIENCE):
        said = await typed("find", "--json", *kept, *entry)
        alone = json.loads(said.output)
        assert [group["topics"] for group in alone["groups"]] == [["grief"]], (
            "all of the directory is, whatever was asked"
        )
        assert alone["age_ms"] >= 0
        assert alone["operators"] == 0
        said = await typed("find", *kept, *entry)
        assert "no node can be reached now" in " ".join(said.output.split())
        said = await typed("forget", *kept)
        assert "Deleted" in said.output
        assert not file.exists()
        said = await typed("find", *kept, *entry)
        assert said.exit_code != 0
