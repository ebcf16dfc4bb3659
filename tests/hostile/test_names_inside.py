"""Names in strangers' records that lead into the private network around a node."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from multiaddr import Multiaddr

from support.hosts import PATIENCE, a_host, key_of
from warmline.net.names import resolve
from warmline_protocol.errors import UnreachableError

BEHIND = {
    "good.example.org": ["93.184.215.14"],
    "router.example.org": ["192.168.0.1"],
    "local.example.org": ["127.0.0.1"],
    "both.example.org": ["93.184.215.14", "10.0.0.1"],
    "metadata.example.org": ["169.254.169.254"],
}


class Names(trio.abc.HostnameResolver):
    """A name service that says what the test wants."""

    async def getaddrinfo(
        self, host: bytes | None, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        found = BEHIND[(host or b"").decode()]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in found]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise AssertionError("nobody asks for names")


@pytest.fixture
def names(nursery: Any) -> Iterator[None]:
    before = trio.socket.set_custom_hostname_resolver(Names())
    yield
    trio.socket.set_custom_hostname_resolver(before)


@pytest.mark.parametrize("end", ["tcp/4001", "tcp/443/wss", "tcp/80/ws"])
async def test_a_name_for_the_inside_is_refused_on_the_open_network(names: None, end: str) -> None:
    for name in ("router", "local", "both", "metadata"):
        with pytest.raises(UnreachableError, match="private network"):
            await resolve(Multiaddr(f"/dns4/{name}.example.org/{end}"), open_only=True)
    found = str(await resolve(Multiaddr(f"/dns4/good.example.org/{end}"), open_only=True))
    assert found == (f"/ip4/93.184.215.14/{end}" if end == "tcp/4001" else f"/dns4/good.example.org/{end}")


async def test_inside_a_private_network_names_lead_where_they_lead(names: None) -> None:
    assert str(await resolve(Multiaddr("/dns4/router.example.org/tcp/1"))) == "/ip4/192.168.0.1/tcp/1"
    assert str(await resolve(Multiaddr("/dns4/router.example.org/tcp/1/ws"))) == "/dns4/router.example.org/tcp/1/ws"


async def test_a_node_on_the_open_network_dials_no_such_name(names: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has only private addresses does, as in a network of containers."""
    async with a_host(name="victim") as target, a_host() as host:
        port = target.addrs()[0].split("/")[4]
        addr = f"/dns4/local.example.org/tcp/{port}/p2p/{key_of('victim').peer_id}"
        with trio.fail_after(PATIENCE):
            monkeypatch.setattr(host, "addrs", lambda: ("/ip4/93.184.215.14/tcp/4001",))
            with pytest.raises(UnreachableError, match="private network"):
                await host.connect(addr)
            assert not target.peers()
            monkeypatch.setattr(host, "addrs", lambda: ("/ip4/10.0.0.2/tcp/4001",))
            assert await host.connect(addr) == target.peer_id
