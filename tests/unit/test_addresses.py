"""Which addresses are told, and which of a stranger's are dialled."""

from __future__ import annotations

import pytest
from multiaddr import Multiaddr

from warmline.net.addresses import dialable, interfaces, is_global, to_tell

EVERYWHERE = [Multiaddr("/ip4/0.0.0.0/tcp/7401/ws"), Multiaddr("/ip4/0.0.0.0/tcp/7400")]


def told(listening: list[Multiaddr], **own: list[str]) -> list[str]:
    names = {"0.0.0.0": own.get("v4", ["127.0.0.1"]), "::": own.get("v6", ["::1"])}
    return [str(addr) for addr in to_tell(listening, names.__getitem__)]


def test_every_interface_is_told_and_tcp_comes_first() -> None:
    assert told(EVERYWHERE, v4=["192.168.1.5", "10.0.0.7"]) == [
        "/ip4/192.168.1.5/tcp/7400",
        "/ip4/10.0.0.7/tcp/7400",
        "/ip4/192.168.1.5/tcp/7401/ws",
        "/ip4/10.0.0.7/tcp/7401/ws",
    ]


def test_who_is_on_the_open_network_says_nothing_of_the_networks_behind() -> None:
    assert told(EVERYWHERE, v4=["10.0.0.7", "1.1.1.1"]) == ["/ip4/1.1.1.1/tcp/7400", "/ip4/1.1.1.1/tcp/7401/ws"]
    both = [Multiaddr("/ip4/0.0.0.0/tcp/7400"), Multiaddr("/ip6/::/tcp/7400")]
    assert told(both, v4=["192.168.1.5"], v6=["2606:4700::1"]) == ["/ip6/2606:4700::1/tcp/7400"]


def test_loopback_is_told_only_where_nothing_else_is() -> None:
    assert told(EVERYWHERE) == ["/ip4/127.0.0.1/tcp/7400", "/ip4/127.0.0.1/tcp/7401/ws"]
    behind_a_proxy = [Multiaddr("/ip4/127.0.0.1/tcp/7401/ws"), Multiaddr("/ip4/0.0.0.0/tcp/7400")]
    assert told(behind_a_proxy, v4=["10.0.0.7"]) == ["/ip4/10.0.0.7/tcp/7400"]


def test_an_address_that_was_named_is_told_as_it_is_and_once() -> None:
    assert told([Multiaddr("/ip4/10.0.0.7/tcp/1"), EVERYWHERE[1]], v4=["10.0.0.7"])[0] == "/ip4/10.0.0.7/tcp/1"
    twice = [Multiaddr("/ip4/10.0.0.7/tcp/7400"), EVERYWHERE[1]]
    assert told(twice, v4=["10.0.0.7"]) == ["/ip4/10.0.0.7/tcp/7400"]
    assert told([]) == []


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_this_machine_has_addresses_that_can_be_dialled(wildcard: str) -> None:
    found = interfaces(wildcard)
    assert found
    assert not {"0.0.0.0", "::"} & set(found)
    assert not any("%" in text or text.startswith(("fe80:", "169.254.")) for text in found)
    loopback = {"127.0.0.1", "::1"} & set(found)
    assert not loopback or len(found) == 1


@pytest.mark.parametrize(
    ("addr", "expected"),
    [
        ("/ip4/1.1.1.1/tcp/1", True),
        ("/ip6/2606:4700::1/tcp/1/ws", True),
        ("/dns4/warmline.example.org/tcp/443/wss", True),
        ("/ip4/127.0.0.1/tcp/1", False),
        ("/ip4/10.1.2.3/tcp/1", False),
        ("/ip4/172.17.0.1/tcp/1", False),
        ("/ip4/192.168.0.1/tcp/1", False),
        ("/ip4/169.254.169.254/tcp/80", False),
        ("/ip4/100.64.0.1/tcp/1", False),
        ("/ip4/0.0.0.0/tcp/1", False),
        ("/ip4/224.0.0.1/tcp/1", False),
        ("/ip6/::1/tcp/1", False),
        ("/ip6/fd00::1/tcp/1", False),
        ("/ip6/::ffff:127.0.0.1/tcp/1", False),
        ("/ip6/::ffff:10.0.0.1/tcp/1", False),
        ("/ip6/2002:7f00:1::/tcp/1", False),
        ("/dns4/localhost/tcp/1", False),
        ("/dns4/printer/tcp/1", False),
        ("/dns4/router.lan/tcp/1", False),
        ("/dns4/db.Internal./tcp/1", False),
        ("/unix/tmp/socket", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_what_is_on_the_open_network(addr: str, expected: bool) -> None:
    assert is_global(addr) is expected


def test_a_node_on_the_open_network_is_not_sent_into_a_private_one() -> None:
    strangers = ("/ip4/192.168.0.1/tcp/22", "/ip4/127.0.0.1/tcp/5432", "/ip4/1.1.1.1/tcp/1", "/dns4/db/tcp/1")
    assert dialable(strangers, ["/ip4/10.0.0.1/tcp/1", "/ip4/9.9.9.9/tcp/1"]) == ("/ip4/1.1.1.1/tcp/1",)
    assert dialable(strangers[:2], ["/dns4/warmline.example.org/tcp/443/wss"]) == ()


def test_nodes_of_one_private_network_meet() -> None:
    strangers = ("/ip4/192.168.0.1/tcp/22", "/ip4/1.1.1.1/tcp/1")
    assert dialable(strangers, ["/ip4/192.168.0.2/tcp/1"]) == strangers
    assert dialable(strangers, []) == strangers
