"""What a host says when it cannot do what it was told."""

from __future__ import annotations

import pytest
import trio

from support.hosts import LOOPBACK, LOOPBACK_WS, a_host, key_of, port_of
from warmline.net.api import Channel
from warmline_protocol.errors import ConfigError, MalformedError, UnreachableError, UsageError


@pytest.mark.parametrize("suffix", ["", "/ws"])
async def test_a_taken_port_names_the_port_and_the_remedy(suffix: str) -> None:
    async with a_host() as first:
        port = port_of(first.addrs()[0])
        with pytest.raises(ConfigError) as caught:
            async with a_host(listen=(f"/ip4/127.0.0.1/tcp/{port}{suffix}",)):
                raise AssertionError("two hosts on one port")
    assert f"port {port} is taken" in caught.value.message
    assert str(port) in caught.value.hint


async def test_a_bad_listen_address_says_how_to_write_one() -> None:
    for bad in ("127.0.0.1:4001", "/ip4/127.0.0.1", "", "/dns4/example.org/tcp/x"):
        with pytest.raises(ConfigError) as caught:
            async with a_host(listen=(bad,)):
                raise AssertionError("listening on nothing")
        assert "/ip4/0.0.0.0/tcp/4001" in caught.value.hint


async def test_errors_in_the_block_come_out_as_themselves() -> None:
    with pytest.raises(ZeroDivisionError):
        async with a_host():
            _ = 1 // 0


async def test_nobody_there_is_unreachable_and_wrong_identity_too() -> None:
    async with a_host() as node, a_host(listen=()) as client:
        stranger = key_of("somebody else").peer_id
        addr = node.addrs()[0]
        with pytest.raises(UnreachableError):
            await client.connect(addr.rsplit("/", 1)[0] + "/" + stranger)
        with pytest.raises(UnreachableError):
            await client.connect(f"/ip4/127.0.0.1/tcp/1/p2p/{stranger}")
        with pytest.raises(MalformedError):
            await client.connect("/ip4/127.0.0.1/tcp/4001")
        with pytest.raises(MalformedError):
            await client.connect("not an address")


@pytest.mark.parametrize("listen", [LOOPBACK, LOOPBACK_WS])
@pytest.mark.parametrize("kind", ["dns4", "dns"])
async def test_names_are_resolved_as_the_system_does(kind: str, listen: str) -> None:
    async with a_host(listen=(listen,)) as node, a_host(listen=()) as client:
        addr = node.addrs()[0].replace("/ip4/127.0.0.1/", f"/{kind}/localhost/")
        assert await client.connect(addr) == node.peer_id


async def test_a_name_that_means_nothing_says_so() -> None:
    async with a_host(listen=()) as client:
        with pytest.raises(UnreachableError) as caught:
            await client.connect(f"/dns4/no-such-name.invalid/tcp/1/p2p/{key_of('x').peer_id}")
    assert "no-such-name.invalid" in caught.value.message


async def test_a_private_host_neither_listens_nor_serves_nor_dials_by_itself() -> None:
    with pytest.raises(ConfigError):
        async with a_host(listen=(LOOPBACK,), private=True):
            raise AssertionError("a private host that listens")
    async with a_host() as node, a_host(listen=(), private=True) as client:
        assert client.addrs() == ()
        with pytest.raises(UsageError):
            client.serve("/x/1", None, max_frame=1, max_channels_per_peer=1)  # type: ignore[arg-type]
        with pytest.raises(UnreachableError):
            await client.open_channel(node.peer_id, "/x/1")


async def test_cancelling_the_block_closes_the_host() -> None:
    with trio.move_on_after(0.5) as scope:
        async with a_host() as node:
            addr = node.addrs()[0]
            await trio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(OSError, match=r"refused|failed"):
        await trio.open_tcp_stream("127.0.0.1", port_of(addr))


async def test_a_host_on_every_interface_tells_one_that_others_can_dial() -> None:
    async with a_host(listen=("/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/tcp/0/ws")) as node, a_host(listen=()) as client:
        tcp, web = node.addrs()
        assert "/0.0.0.0/" not in tcp + web
        assert "/ws/" in web
        assert await client.connect(tcp) == node.peer_id


async def test_what_the_operator_announces_is_told_instead() -> None:
    told = "/dns4/node.example/tcp/443/wss"
    async with a_host(announce=(told,)) as node:
        assert node.addrs() == (f"{told}/p2p/{node.peer_id}",)


async def test_a_failing_handler_is_reported_by_place_and_not_by_content(caplog: pytest.LogCaptureFixture) -> None:
    async def failing(channel: Channel) -> None:
        raise RuntimeError((await channel.receive()).decode())

    async with a_host() as node, a_host(listen=()) as client:
        node.serve("/x/1", failing, max_frame=100, max_channels_per_peer=4)
        channel = await client.open_channel(await client.connect(node.addrs()[0]), "/x/1")
        await channel.send(b"what a person wrote")
        with pytest.raises(UnreachableError):
            await channel.receive()
        await channel.aclose()
    lines = [record.getMessage() for record in caplog.records if record.name == "warmline.net"]
    assert [line for line in lines if "RuntimeError at " in line and "test_host_errors.py:" in line]
    assert "what a person wrote" not in caplog.text
