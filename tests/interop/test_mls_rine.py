"""A third peer: ``rine-mls``, somebody else's binding, which keeps its state in files and names members by their keys.

It has no exporter and no empty commit, so that it cannot carry a session; it joins, talks, adds and removes. Sessions
refuse its members as they are, because their credential is a key and not 16 random bytes; beyond the first test here
the size that is allowed is theirs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.tsmls import Peer, TsMlsProvider
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.env import SeededRng
from warmline_protocol.errors import MalformedError
from warmline_protocol.session import mlswire
from warmline_protocol.session.mls import Group

GROUP = b"a group of three"
RANDOM = SeededRng("rine")
TALK = b"\x04"
"""What rine puts before every application message."""


class Party(NamedTuple):
    """Ours, the browser's, and theirs."""

    ours: MlsRsProvider
    page: TsMlsProvider
    theirs: Any


@pytest.fixture
def client(rine: Any, tmp_path: Path) -> Any:
    return rine.MlsClient(
        str(tmp_path / "rine"), RANDOM.bytes(32), rine.CIPHER_SUITE_CLASSICAL, epoch_retention_limit=1
    )


@pytest.fixture
def party(client: Any, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Party:
    monkeypatch.setattr(mlswire, "IDENTITY_SIZE", 32)
    return Party(MlsRsProvider(lambda _: RANDOM.bytes(32)), TsMlsProvider(peer, lambda _: RANDOM.bytes(32)), client)


def test_its_members_are_refused_in_sessions(client: Any) -> None:
    ours = MlsRsProvider(RANDOM.bytes)
    host, candidate = ours.create(GROUP), ours.candidate()
    with pytest.raises(MalformedError, match="wrong size"):
        host.add([client.generate_key_package()])
    assert host.roster() == (host.me,)
    made = client.create_group_with_members(GROUP, [candidate.key_package]).last_commit()
    with pytest.raises(MalformedError, match="wrong size"):
        candidate.join(made.welcomes[0])


def assert_everybody_hears(theirs: Any, *ours: Group) -> None:
    said = theirs.encrypt_application_message(b"from rine")
    assert said[:1] == TALK
    for listener in ours:
        assert listener.open(said[1:]).data == b"from rine"
    for speaker in ours:
        message = speaker.seal(b"from us")
        heard = theirs.decrypt_application_message(TALK + message)
        assert heard.envelope == b"from us"
        for listener in ours:
            if listener is not speaker:
                assert listener.open(message).sender == speaker.me


@pytest.mark.parametrize("hosting", ["mls-rs", "ts-mls"])
def test_it_joins_and_is_taken_out(party: Party, rine: Any, hosting: str) -> None:
    host_of, guest_of = (party.ours, party.page) if hosting == "mls-rs" else (party.page, party.ours)
    host, candidate = host_of.create(GROUP), guest_of.candidate()
    welcome = host.add([candidate.key_package, party.theirs.generate_key_package()]).welcome
    guest, third = candidate.join(welcome), party.theirs.join_from_welcome(welcome)
    identities = [each.identity for each in third.member_identities()]
    assert identities == [each.id for each in host.roster()] and third.group_id() == GROUP
    assert_everybody_hears(third, host, guest)

    update = host.refresh().commit
    guest.process(update, host.me)
    third.apply_commit(update)
    assert third.epoch() == 2
    assert_everybody_hears(third, host, guest)

    late = guest.seal(b"late")
    out = host.remove([host.roster()[2]]).commit
    assert guest.process(out, host.me) == (host.me, guest.me)
    third.apply_commit(out)
    assert not third.is_active()
    assert host.open(late).data == b"late"
    with pytest.raises(rine.RineMlsError):
        third.decrypt_application_message(TALK + host.seal(b"without you"))


def test_it_hosts(party: Party) -> None:
    first, second = party.ours.candidate(), party.page.candidate()
    theirs = party.theirs.create_group_with_members(GROUP, [first.key_package, second.key_package])
    ours, page = (each.join(w) for each, w in zip((first, second), theirs.last_commit().welcomes, strict=True))
    host = ours.roster()[0]
    assert host.id == host.key == party.theirs.public_key()
    assert_everybody_hears(theirs, ours, page)

    early = [theirs.encrypt_application_message(text) for text in (b"one epoch ago", b"two epochs ago")]
    third = party.ours.candidate()
    made = theirs.add_member(third.key_package)
    for each in (ours, page):
        assert len(each.process(made.commit, host)) == 4
    late = third.join(made.welcomes[0])
    for each in (ours, page):
        assert each.open(early[0][1:]).data == b"one epoch ago"
    assert_everybody_hears(theirs, ours, page, late)

    out = theirs.remove_member(theirs.member_index(page.me.id))
    assert page.process(out.commit, host) == ()
    for each in (ours, late):
        assert each.process(out.commit, host) == (host, ours.me, late.me)
    with pytest.raises(MalformedError):
        ours.open(early[1][1:])
    assert_everybody_hears(theirs, ours, late)
