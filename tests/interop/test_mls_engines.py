"""Two MLS engines in one group: mls-rs, which the Python client uses, and ts-mls, which the page uses.

Every test runs with either as the host and either as the others, so that each also stands for itself at the seam.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from support.tsmls import Peer, PeerError, TsMlsProvider
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.env import SeededRng
from warmline_protocol.errors import MalformedError, RemoteError, UsageError
from warmline_protocol.session.keyschedule import EXPORTER_LABEL
from warmline_protocol.session.mls import E2EEProvider, Group
from warmline_protocol.session.mlswire import Member, member_of_key_package

GROUP = b"a group of two or"
HOSTED = [("mls-rs", "ts-mls"), ("ts-mls", "mls-rs"), ("ts-mls", "ts-mls"), ("mls-rs", "mls-rs")]
DAY_S = 86_400


class Engines(NamedTuple):
    host: E2EEProvider
    guest: E2EEProvider
    ts: TsMlsProvider


@pytest.fixture(params=HOSTED, ids=lambda pair: f"{pair[0]} hosts {pair[1]}")
def engines(request: pytest.FixtureRequest, peer: Peer) -> Engines:
    draw = SeededRng("engines").bytes
    ts = TsMlsProvider(peer, draw)
    by_name: dict[str, E2EEProvider] = {"mls-rs": MlsRsProvider(draw), "ts-mls": ts}
    host, guest = request.param
    return Engines(by_name[host], by_name[guest], ts)


def open_group(engines: Engines, guests: int = 1) -> tuple[Group, list[Group]]:
    host = engines.host.create(GROUP)
    return host, join(engines.guest, host, guests)


def join(provider: E2EEProvider, host: Group, count: int) -> list[Group]:
    candidates = [provider.candidate() for _ in range(count)]
    welcome = host.add([each.key_package for each in candidates]).welcome
    return [each.join(welcome) for each in candidates]


def assert_in_step(members: Sequence[Group]) -> None:
    for what in (lambda each: each.group_id, lambda each: each.roster(), secret_of):
        assert len({what(each) for each in members}) == 1


def secret_of(group: Group) -> bytes:
    return group.export(EXPORTER_LABEL, b"", 32)


def assert_everybody_hears(members: Sequence[Group]) -> None:
    for speaker in members:
        said = speaker.seal(b"it is " + speaker.me.id)
        for listener in members:
            if listener is not speaker:
                opened = listener.open(said)
                assert (opened.sender, opened.data) == (speaker.me, b"it is " + speaker.me.id)


def refused(what: Any, *arguments: Any) -> None:
    with pytest.raises(RemoteError):
        what(*arguments)


def test_join_talk_update_remove(engines: Engines) -> None:
    host, (first, second) = open_group(engines, 2)
    assert host.group_id == GROUP and first.roster() == (host.me, first.me, second.me)
    assert_in_step([host, first, second])
    assert_everybody_hears([host, first, second])
    for label, context, size in ((b"warmline/1/outer", b"", 32), (b"other", b"context", 64)):
        assert host.export(label, context, size) == second.export(label, context, size)

    before = secret_of(host)
    update = host.refresh()
    assert update.welcome == b""
    for member in (first, second):
        assert member.process(update.commit, host.me) == host.roster()
    assert secret_of(host) != before
    assert_everybody_hears([host, first, second])

    (third,) = join_behind(engines.guest, host, [first, second])
    assert_in_step([host, first, second, third])

    out = host.remove([first.me]).commit
    assert first.process(out, host.me) == ()
    for member in (second, third):
        assert member.process(out, host.me) == (host.me, second.me, third.me)
    assert_everybody_hears([host, second, third])
    refused(first.open, host.seal(b"without you"))


def join_behind(provider: E2EEProvider, host: Group, others: Sequence[Group]) -> list[Group]:
    candidate = provider.candidate()
    made = host.add([candidate.key_package])
    for other in others:
        other.process(made.commit, host.me)
    return [candidate.join(made.welcome)]


def test_fifty_join_at_once_and_twenty_leave_at_once(engines: Engines) -> None:
    host, members = open_group(engines, 49)
    assert_in_step([host, *members])
    goes, stays = members[10:30], members[:10] + members[30:]
    out = host.remove([each.me for each in goes]).commit
    for member in stays[:5]:
        assert member.process(out, host.me) == host.roster()
    assert goes[0].process(out, host.me) == ()
    assert len(host.roster()) == 30
    assert_everybody_hears([host, *stays[:5]])
    # The leaves that became free are used again.
    (late,) = join_behind(engines.guest, host, stays[:5])
    assert_in_step([host, *stays[:5], late])
    assert_everybody_hears([host, stays[0], late])


def test_one_old_epoch_opens_and_two_old_do_not(engines: Engines) -> None:
    host, (guest,) = open_group(engines)
    for late, reader in ((guest, host), (host, guest)):
        early, middle = late.seal(b"two epochs ago"), b""
        for step in range(2):
            commit = host.refresh().commit
            guest.process(commit, host.me)
            middle = late.seal(b"one epoch ago") if step == 0 else middle
        assert reader.open(middle).data == b"one epoch ago"
        refused(reader.open, early)
        refused(reader.open, middle)


def test_a_forgotten_epoch_stays_forgotten(engines: Engines) -> None:
    host, (guest,) = open_group(engines)
    late = [guest.seal(b"1"), guest.seal(b"2")]
    guest.process(host.refresh().commit, host.me)
    assert host.open(late[0]).data == b"1"
    host.forget_previous()
    refused(host.open, late[1])
    refused(engines.host.restore(host.snapshot()).open, late[1])
    guest.process(host.refresh().commit, host.me)
    assert_everybody_hears([host, guest])


def test_only_the_expected_member_commits(engines: Engines) -> None:
    host, (guest, other) = open_group(engines, 2)
    before = secret_of(host)
    rogue = guest.refresh().commit
    refused(host.process, rogue, host.me)
    refused(other.process, rogue, host.me)
    refused(host.process, rogue, other.me)
    assert secret_of(host) == before == secret_of(other)
    assert_everybody_hears([host, other])


def test_a_commit_is_applied_once_and_in_order(engines: Engines) -> None:
    host, (guest,) = open_group(engines)
    first, second = host.refresh().commit, host.refresh().commit
    refused(guest.process, second, host.me)
    guest.process(first, host.me)
    refused(guest.process, first, host.me)
    refused(guest.open, second)
    guest.process(second, host.me)
    refused(host.process, second, host.me)
    assert_in_step([host, guest])
    assert_everybody_hears([host, guest])


def test_replays_and_echoes_are_refused(engines: Engines) -> None:
    host, (guest,) = open_group(engines)
    said = [host.seal(bytes([number])) for number in range(5)]
    for message in said:
        guest.open(message)
    for message in said:
        refused(guest.open, message)
        refused(host.open, message)
    refused(guest.process, said[0], host.me)


def test_fifty_in_any_order(engines: Engines) -> None:
    host, (guest,) = open_group(engines)
    for speaker, listener in ((host, guest), (guest, host)):
        said = [(number, speaker.seal(bytes([number]))) for number in range(50)]
        random.Random(7).shuffle(said)
        for number, message in [max(said), *(each for each in said if each != max(said))]:
            assert listener.open(message).data == bytes([number])


def test_a_jump_of_generations_is_bounded(engines: Engines) -> None:
    """Whoever skips a thousand messages may; further, a listener would burn CPU for whoever asks."""
    host, (guest,) = open_group(engines)
    said = [host.seal(b"x") for _ in range(1_100)]
    refused(guest.open, said[-1])
    assert guest.open(said[900]).data == b"x"
    assert guest.open(said[0]).data == b"x"
    assert_everybody_hears([guest, host])


def test_bent_messages_open_nowhere_and_hurt_nobody(engines: Engines) -> None:
    host, (guest,) = open_group(engines)
    for message, read in ((host.seal(b"whole"), guest.open), (host.refresh().commit, processing(guest, host.me))):
        for at in range(0, len(message), max(1, len(message) // 24)):
            bent = bytearray(message)
            bent[at] ^= 0x11
            refused(read, bytes(bent))
        refused(read, message[:-1])
        refused(read, message + b"\0")
        read(message)
    assert_everybody_hears([host, guest])


def processing(group: Group, committer: Member) -> Any:
    return lambda commit: group.process(commit, committer)


def test_a_proposal_alone_is_nothing(peer: Peer) -> None:
    """Members ask inside messages; an MLS proposal on its own changes nothing, however it is wrapped."""
    draw = SeededRng("proposal").bytes
    for hosting in (MlsRsProvider(draw), TsMlsProvider(peer, draw)):
        host: Group = hosting.create(GROUP)
        (guest, victim) = join(TsMlsProvider(peer, draw), host, 2)
        member = {"id": victim.me.id.hex(), "key": victim.me.key.hex()}
        for in_clear in (True, False):
            handle: int = guest._handle  # type: ignore[attr-defined]
            asked = peer.call("engine.propose", handle=handle, open=in_clear, member=member)
            for reader in (host, victim):
                refused(reader.open, bytes.fromhex(asked["message"]))
                refused(reader.process, bytes.fromhex(asked["message"]), host.me)
        commit = host.refresh().commit
        assert victim.process(commit, host.me) == host.roster() and len(host.roster()) == 3
        assert_everybody_hears([host, victim])


def test_key_packages_that_nobody_adds(engines: Engines) -> None:
    now = int(time.time())
    good = engines.guest.candidate().key_package
    bad = {
        "another suite": engines.ts.candidate(cipher="MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519").key_package,
        "a post-quantum suite": engines.ts.candidate(cipher="MLS_256_XWING_AES256GCM_SHA512_Ed25519").key_package,
        "expired": engines.ts.candidate(notBefore=now - 9 * DAY_S, notAfter=now - DAY_S).key_package,
        "of tomorrow": engines.ts.candidate(notBefore=now + DAY_S).key_package,
        "cut": good[:-1],
        "longer": good + b"\0",
        "nothing": b"",
        "a short name": TsMlsProvider(engines.ts.peer, lambda size: b"short").candidate().key_package,
    }
    for at in range(0, len(good), 7):
        bent = bytearray(good)
        bent[at] ^= 0x01
        bad[f"bent at {at}"] = bytes(bent)
    host = engines.host.create(GROUP)
    before = secret_of(host)
    for name, package in bad.items():
        with pytest.raises(RemoteError):
            host.add([package])
            raise AssertionError(name)
        with pytest.raises(RemoteError):
            host.add([engines.guest.candidate().key_package, package])
            raise AssertionError(name)
    assert secret_of(host) == before and host.roster() == (host.me,)
    host.add([good])
    refused(host.add, [good])
    twin = TsMlsProvider(engines.ts.peer, lambda size: member_of_key_package(good).id).candidate().key_package
    refused(host.add, [twin])
    assert len(host.roster()) == 2


def test_a_forger_spends_nobody_elses_keys(engines: Engines) -> None:
    """What fails to open leaves the key of its generation for the message that was meant."""
    host, (guest,) = open_group(engines)
    said = host.seal(b"meant")
    for at in (-1, -20, -40):
        bent = bytearray(said)
        bent[at] ^= 0xFF
        refused(guest.open, bytes(bent))
    assert guest.open(said).data == b"meant"
    assert guest.open(host.seal(b"and the next")).data == b"and the next"


def test_a_welcome_opens_for_its_candidate(engines: Engines) -> None:
    host = engines.host.create(GROUP)
    right, wrong = engines.guest.candidate(), engines.guest.candidate()
    welcome = host.add([right.key_package]).welcome
    refused(wrong.join, welcome)
    bent = bytearray(welcome)
    bent[len(bent) // 2] ^= 1
    refused(right.join, bytes(bent))
    refused(right.join, welcome[:-2])
    assert_in_step([host, right.join(welcome)])


def test_a_restart_goes_on_where_the_snapshot_was(engines: Engines) -> None:
    host, (guest,) = open_group(engines)
    first, second, late = host.seal(b"1"), host.seal(b"2"), guest.seal(b"late")
    guest.open(first)
    guest.process(host.refresh().commit, host.me)
    host, guest = engines.host.restore(host.snapshot()), engines.guest.restore(guest.snapshot())
    refused(guest.open, first)
    assert guest.open(second).data == b"2"
    assert host.open(late).data == b"late"
    assert_in_step([host, guest])
    guest.process(host.refresh().commit, host.me)
    assert_everybody_hears([host, guest])


def test_nobody_is_removed_who_is_not_there(engines: Engines) -> None:
    host, (guest,) = open_group(engines)
    with pytest.raises(UsageError):
        host.remove([Member(b"x" * 16, guest.me.key)])
    assert len(host.roster()) == 2


def test_errors_of_the_peer_are_told_by_their_words(peer: Peer) -> None:
    with pytest.raises(PeerError, match="no such group"):
        peer.call("engine.seal", handle=10**9, data="")
    with pytest.raises(MalformedError):
        TsMlsProvider(peer, SeededRng("words").bytes).candidate().join(b"no welcome")
