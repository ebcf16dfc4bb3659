"""The story. A step drives commands as people would and returns what happened in a sentence; it raises when it failed.

Steps of one act run at the same time; acts follow each other.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from warmline.daemon.home import Home
from warmline.demo.casting import CREDENTIAL, ISSUER_ACCOUNT, PASSPHRASE, SECOND_QUEUE_AFTER
from warmline.demo.processes import StepFailedError
from warmline.demo.stage import OPERATORS, NodeSeat, SeekerSeat, Stage, SupporterSeat, all_of, until
from warmline.env import SystemRng
from warmline_protocol.errors import WarmlineError
from warmline_protocol.keys import peer_id_of

START = 90.0
"""Seconds that programs may take to start on a busy machine; on a quiet one it is three."""
ACT = 60.0


@dataclass(frozen=True, slots=True)
class Step:
    """``name`` is shown; ``play`` does it."""

    key: str
    name: str
    play: Callable[[Stage], Awaitable[str]]


# --- the ground ------------------------------------------------------------------------------------------------------


async def chain(stage: Stage) -> str:
    program = await stage.fleet.start(
        "chain",
        "chain",
        "dev",
        "--data",
        str(stage.folder / "chain"),
        "--port",
        "0",
        "--json",
        home=stage.folder / "chain",
    )
    ready = await program.wait_for(lambda data: "url" in data, within=START)
    stage.chain_url, stage.chain_manifest = ready.data["url"], ready.data["manifest"]
    stage.timings["chain_ready"] = ready.at - program.started
    return f"a chain of its own answers at {stage.chain_url}"


async def nodes(stage: Stage) -> str:
    stage.nodes = [_seat(stage, number) for number in range(stage.nodes_wanted)]
    for before, node in zip([None, *stage.nodes], stage.nodes, strict=False):
        _furnish(stage, node, before)
    await all_of([partial(start_node, stage, node) for node in stage.nodes])
    await all_of([partial(_settled, stage, node) for node in stage.nodes])
    stage.timings["cold_start"] = max(node.ready_after for node in stage.nodes)
    return f"{len(stage.nodes)} nodes of as many operators, each told of one neighbour, know each other"


def _seat(stage: Stage, number: int) -> NodeSeat:
    """A node's directory and port. The port is held until the node binds it, so that all can start at once."""
    hold = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    hold.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    hold.bind(("127.0.0.1", 0))
    port = hold.getsockname()[1]
    if sys.platform != "linux":  # elsewhere nobody can bind it meanwhile
        hold.close()
    name = f"node-{number + 1}"
    # A node is never its own entry: what lay at somebody's only entry, that person could not reach.
    queues = 0 < number < stage.nodes_wanted - 1
    operator = OPERATORS[number] if number < len(OPERATORS) else f"Operator {number + 1}"
    return NodeSeat(name, operator, Home(stage.folder / name), "", port, hold, queues)


def _furnish(stage: Stage, node: NodeSeat, neighbour: NodeSeat | None) -> None:
    node.home.create(
        SystemRng(),
        {
            "node": {"operator": node.operator},
            "net": {
                "listen": (f"/ip4/127.0.0.1/tcp/{node.port}",),
                "bootstrap": (neighbour.addr,) if neighbour else (),
            },
            "queues": {"enabled": node.queues},
            "chain": {"url": stage.chain_url, "manifest": stage.chain_manifest},
        },
    )
    node.peer_id = peer_id_of(node.home.key().public)


async def start_node(stage: Stage, node: NodeSeat) -> None:
    """Run a node until it says that it is ready; its directory is there already."""
    folder = node.home.folder
    node.program = await stage.fleet.start(node.name, "node", "run", "--data", str(folder), home=folder)
    await node.program.wait_line("is ready", within=START)
    node.hold.close()
    node.ready_after = trio.current_time() - node.program.started


async def _settled(stage: Stage, node: NodeSeat) -> None:
    def all_known(status: dict[str, Any]) -> bool:
        return status["nodes_known"] >= len(stage.nodes) and status["chain"]["block"] is not None

    await until(f"{node.name} knowing all others and the chain", partial(node.ask, "status"), all_known, within=ACT)


async def credentials(stage: Stage) -> str:
    await all_of([partial(_register_issuer, stage), *(partial(_register, stage, one) for one in stage.supporters)])
    for seat in stage.supporters:
        # One after the other: two transactions of one account at the same time would take the same nonce.
        await _chain_command(
            stage,
            f"issue-{seat.role.key}",
            "issuer",
            "issue",
            seat.wallet,
            CREDENTIAL,
            "--days",
            "365",
            account=ISSUER_ACCOUNT,
        )
    return f"{' and '.join(seat.role.name for seat in stage.supporters)} are credentialed and bonded"


async def _chain_command(stage: Stage, name: str, *words: str, account: int, seat: SupporterSeat | None = None) -> Any:
    folder = seat.folder if seat else stage.folder / "issuer"
    options = ("--data", str(folder), "--chain", stage.chain_url, "--dev-account", str(account), "--json")
    return await stage.fleet.run(name, *words, *options, home=folder, within=ACT)


async def _register_issuer(stage: Stage) -> None:
    said = await _chain_command(
        stage, "issuer-register", "issuer", "register", "--type", CREDENTIAL, account=ISSUER_ACCOUNT
    )
    stage.issuer = said["state"]["issuer"]


async def _register(stage: Stage, seat: SupporterSeat) -> None:
    key, account = seat.role.key, seat.role.account
    said = await _chain_command(stage, f"{key}-register", "supporter", "register", account=account, seat=seat)
    seat.wallet = said["state"]["wallet"]
    await _chain_command(stage, f"{key}-bond", "supporter", "bond", "0.05", account=account, seat=seat)


# --- discovery -------------------------------------------------------------------------------------------------------


async def cards(stage: Stage) -> str:
    await _all_nodes_follow(stage)
    await all_of([partial(_card, stage, seat) for seat in stage.supporters])
    return "both cards are out, verified, with doors at two nodes each"


async def _all_nodes_follow(stage: Stage) -> None:
    from warmline.chain.provider import open_rpc

    async with open_rpc(stage.chain_url) as rpc:
        tip = int(await rpc.call("eth_blockNumber"), 16)
    for node in stage.nodes:
        await until(
            f"{node.name} at block {tip}",
            partial(node.ask, "status"),
            lambda status: (status["chain"]["block"] or 0) >= tip,
            within=ACT,
        )


async def _card(stage: Stage, seat: SupporterSeat) -> None:
    role = seat.role
    words = ["supporter", "card", "--name", role.name, "--about", role.about, "--credential", CREDENTIAL, "--json"]
    for language in role.languages:
        words += ["--language", language]
    for topic in role.topics:
        words += ["--topic", topic]
    words += ["--data", str(seat.folder), "--entry", stage.entry_of_supporters.addr]
    said = await stage.fleet.run(f"{role.key}-card", *words, home=seat.folder, secret=PASSPHRASE, within=ACT)
    _expect(said["verified"], f"the card of {role.name} is not verified: {said}")
    seat.card = said["card"]


async def publish(stage: Stage) -> str:
    wanted, begin = len(stage.programme.groups), trio.current_time()

    async def reach(node: NodeSeat) -> float:
        await until(f"all groups at {node.name}", partial(_listings, node), lambda n: n >= wanted, within=ACT)
        return trio.current_time()

    *times, _ = await all_of(
        [
            *(partial(reach, node) for node in stage.nodes),
            partial(all_of, [partial(_publish, stage, number) for number in range(len(stage.supporters))]),
        ]
    )
    stage.timings["publish_to_all_nodes"] = max(times) - begin
    stage.timings["publish_spread"] = max(times) - min(times)
    return f"{wanted} groups of two supporters are at all {len(stage.nodes)} nodes"


async def _listings(node: NodeSeat) -> int:
    count: int = (await node.ask("status"))["directory"]["listings"]
    return count


async def _publish(stage: Stage, number: int) -> None:
    seat = stage.supporters[number]
    file = seat.folder / "programme-to-publish.toml"
    file.write_text(stage.programme.file_of(number), "utf-8")
    said = await stage.fleet.run(
        f"{seat.role.key}-publish",
        *("groups", "publish", str(file), "--data", str(seat.folder), "--json"),
        *("--entry", stage.entry_of_supporters.addr),
        home=seat.folder,
        secret=PASSPHRASE,
        within=ACT,
    )
    bad = [row for row in said if row["verdict"] != "accept" or not row["verified"]]
    _expect(not bad, f"not every group of {seat.role.name} was taken as verified: {bad[:2]}")
    seat.listings = frozenset(row["record"] for row in said)


async def find(stage: Stage) -> str:
    begin = trio.current_time()
    times = await all_of([partial(_find, stage, seat, at) for at, seat in enumerate(stage.seekers)])
    stage.timings["publish_to_found"] = min(times) - begin
    stage.timings["find"] = max(times) - begin
    found = ", ".join(str(len(seat.found)) for seat in stage.seekers)
    return f"four seekers who know one node found {found} groups, each with another filter"


async def _search(stage: Stage, seat: SeekerSeat, name: str, *words: str) -> dict[str, Any]:
    said: dict[str, Any] = await stage.fleet.run(
        name, "groups", "find", *words, "--json", "--entry", stage.bootstrap.addr, home=seat.folder, within=ACT
    )
    return said


async def _find(stage: Stage, seat: SeekerSeat, number: int) -> float:
    wish = stage.programme.wishes()[number]
    said = await _search(stage, seat, f"{seat.role.key}-find", *wish.words)
    seat.found = said["groups"]
    ids = {group["id"] for group in seat.found}
    _expect(ids, f"{seat.role.key} found nothing with {' '.join(wish.words)}")
    _expect(wish.expected is None or ids == wish.expected, f"{seat.role.key} found {ids}, should be {wish.expected}")
    _expect(all(group["verified"] for group in seat.found), f"{seat.role.key} found groups that are not verified")
    _expect(
        not any("your only entry" in weak for weak in said["weak"]), f"{seat.role.key} asked the entry: {said['weak']}"
    )
    return trio.current_time()


async def duty(stage: Stage) -> str:
    await all_of([partial(_duty, stage, seat) for seat in stage.supporters])
    return "both supporters are at their doors"


async def _duty(stage: Stage, seat: SupporterSeat) -> None:
    words = ("supporter", "duty", "--json", "--second-queue-after", str(SECOND_QUEUE_AFTER), "--data", str(seat.folder))
    seat.duty = await stage.fleet.start(
        f"{seat.role.key}-duty",
        *(*words, "--entry", stage.entry_of_supporters.addr),
        home=seat.folder,
        secret=PASSPHRASE,
        talks=True,
    )
    await seat.duty.wait_for("on_duty", within=START)


def _expect(held: object, otherwise: str) -> None:
    if not held:
        raise StepFailedError(otherwise[:600])


# --- the end of a credential -----------------------------------------------------------------------------------------


async def revoke(stage: Stage) -> str:
    seat, others = stage.supporters[1], stage.supporters[0]
    revoked_at, _ = await all_of([partial(_see_revocation, stage), partial(_revoke, stage, seat)])
    for node in stage.living():
        await until(
            f"{node.name} letting go", partial(_listings, node), lambda n: n <= len(others.listings), within=ACT
        )
    stage.timings["revocation_to_dropped"] = trio.current_time() - revoked_at
    ids = await until(
        "the listings being found no more", partial(_all_found, stage), seat.listings.isdisjoint, within=ACT
    )
    stage.timings["revocation_to_gone"] = trio.current_time() - revoked_at
    _expect(others.listings <= ids, "listings of the other supporter went as well")
    return f"{len(seat.listings)} groups of {seat.role.name} are found no more, {len(others.listings)} others still are"


async def _see_revocation(stage: Stage) -> float:
    """When the revoking transaction was in a block."""
    from warmline.chain.provider import open_rpc

    async with open_rpc(stage.chain_url) as rpc:
        first = int(await rpc.call("eth_blockNumber"), 16) + 1

        async def logs() -> list[Any]:
            found: list[Any] = await rpc.call("eth_getLogs", {"fromBlock": hex(first), "toBlock": "latest"})
            return found

        await until("the revocation on the chain", logs, bool, within=ACT)
    return trio.current_time()


async def _revoke(stage: Stage, seat: SupporterSeat) -> None:
    words = ("issuer", "revoke", seat.wallet, CREDENTIAL, "--reason", "affiliationChanged")
    await _chain_command(stage, "issuer-revoke", *words, account=ISSUER_ACCOUNT)


async def _all_found(stage: Stage) -> frozenset[str]:
    stage.counts["searches"] = stage.counts.get("searches", 0) + 1
    seat = stage.seekers[3]
    try:
        said = await _search(stage, seat, f"{seat.role.key}-find-again-{stage.counts['searches']}")
    except WarmlineError as error:
        raise StepFailedError(f"a search failed: {error.message}") from error
    return frozenset(group["record"] for group in said["groups"])
