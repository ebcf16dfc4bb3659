"""The MLS engine through its seam: what a session relies on, with the real wheel."""

from __future__ import annotations

import time

import pytest

from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.env import SeededRng
from warmline_protocol.errors import MalformedError, OversizeError, UsageError
from warmline_protocol.session.mls import Group
from warmline_protocol.session.mlswire import (
    Member,
    is_application,
    lifetime_of_key_package,
    member_of_key_package,
    members_of_tree,
)

LABEL = b"warmline/1/test"


@pytest.fixture
def provider() -> MlsRsProvider:
    return MlsRsProvider(SeededRng("mls").bytes)


def host_and(provider: MlsRsProvider, count: int) -> tuple[Group, list[Group]]:
    host = provider.create(b"G" * 16)
    candidates = [provider.candidate() for _ in range(count)]
    made = host.add([each.key_package for each in candidates])
    return host, [each.join(made.welcome) for each in candidates]


def test_two_members_agree_on_secrets_and_names(provider: MlsRsProvider) -> None:
    host, (guest,) = host_and(provider, 1)
    assert guest.group_id == host.group_id == b"G" * 16
    assert host.export(LABEL, b"", 32) == guest.export(LABEL, b"", 32)
    assert host.roster() == guest.roster() == (host.me, guest.me)
    opened = guest.open(host.seal(b"hello"))
    assert (opened.sender, opened.data) == (host.me, b"hello")
    assert host.open(guest.seal(b"you")).sender == guest.me


def test_a_key_package_says_who_it_adds(provider: MlsRsProvider) -> None:
    candidate = provider.candidate()
    member = member_of_key_package(candidate.key_package)
    host = provider.create(b"G" * 16)
    guest = candidate.join(host.add([candidate.key_package]).welcome)
    assert guest.me == member


def test_a_replay_is_refused(provider: MlsRsProvider) -> None:
    host, (guest,) = host_and(provider, 1)
    message = host.seal(b"once")
    guest.open(message)
    with pytest.raises(MalformedError):
        guest.open(message)


def test_own_messages_are_refused(provider: MlsRsProvider) -> None:
    host, _ = host_and(provider, 1)
    with pytest.raises(MalformedError):
        host.open(host.seal(b"echo"))


def test_only_the_expected_member_commits(provider: MlsRsProvider) -> None:
    host, (guest, other) = host_and(provider, 2)
    before = host.export(LABEL, b"", 32)
    rogue = guest.refresh().commit
    with pytest.raises(MalformedError):
        host.process(rogue, other.me)
    with pytest.raises(MalformedError):
        other.process(rogue, host.me)
    assert host.export(LABEL, b"", 32) == before == other.export(LABEL, b"", 32)
    assert other.open(host.seal(b"still here")).data == b"still here"


def test_a_commit_is_no_application_message(provider: MlsRsProvider) -> None:
    host, (guest,) = host_and(provider, 1)
    commit = host.refresh().commit
    assert not is_application(commit)
    with pytest.raises(MalformedError):
        guest.open(commit)
    with pytest.raises(MalformedError):
        guest.process(host.seal(b"not a commit"), host.me)


def test_the_epoch_before_opens_until_it_is_forgotten(provider: MlsRsProvider) -> None:
    host, (guest,) = host_and(provider, 1)
    late = [guest.seal(b"late 1"), guest.seal(b"late 2")]
    guest.process(host.refresh().commit, host.me)
    assert host.open(late[0]).data == b"late 1"
    host.forget_previous()
    with pytest.raises(MalformedError):
        host.open(late[1])
    guest.process(host.refresh().commit, host.me)
    assert guest.open(host.seal(b"the next commit still works")).data


def test_two_epochs_back_is_gone(provider: MlsRsProvider) -> None:
    host, (guest,) = host_and(provider, 1)
    late = guest.seal(b"late")
    for _ in range(2):
        guest.process(host.refresh().commit, host.me)
    with pytest.raises(MalformedError):
        host.open(late)


def test_a_removed_member_reads_nothing_more(provider: MlsRsProvider) -> None:
    host, (stays, goes) = host_and(provider, 2)
    commit = host.remove([goes.me]).commit
    assert stays.process(commit, host.me) == (host.me, stays.me)
    assert goes.process(commit, host.me) == ()
    secret = host.seal(b"without you")
    assert stays.open(secret).data == b"without you"
    with pytest.raises(MalformedError):
        goes.open(secret)
    with pytest.raises(UsageError):
        host.remove([goes.me])


def test_nobody_is_added_twice(provider: MlsRsProvider) -> None:
    host = provider.create(b"G" * 16)
    package = provider.candidate().key_package
    host.add([package])
    with pytest.raises(MalformedError):
        host.add([package])
    assert len(host.roster()) == 2


@pytest.mark.parametrize("at", [0, 3, 5, 60, 150, 299])
def test_a_tampered_key_package_is_refused(provider: MlsRsProvider, at: int) -> None:
    package = bytearray(provider.candidate().key_package)
    package[at] ^= 0x41
    host = provider.create(b"G" * 16)
    with pytest.raises(MalformedError):
        host.add([bytes(package)])
    assert host.roster() == (host.me,)
    assert host.add([provider.candidate().key_package]).welcome


def test_oversize_and_garbage(provider: MlsRsProvider) -> None:
    host, _ = host_and(provider, 1)
    with pytest.raises(OversizeError):
        host.add([bytes(601)])
    for garbage in (b"", b"\0", b"\0\1\0\2" + b"\xff" * 60, bytes(300)):
        with pytest.raises(MalformedError):
            host.open(garbage)
        with pytest.raises(MalformedError):
            host.process(garbage, host.me)
        with pytest.raises(MalformedError):
            members_of_tree(garbage + b"\x80")


def test_a_welcome_opens_once_and_for_its_candidate_only(provider: MlsRsProvider) -> None:
    host = provider.create(b"G" * 16)
    right, wrong = provider.candidate(), provider.candidate()
    welcome = host.add([right.key_package]).welcome
    with pytest.raises(MalformedError):
        wrong.join(welcome)
    assert right.join(welcome).roster() == host.roster()


def reborn(provider: MlsRsProvider, group: Group) -> Group:
    return provider.restore(group.snapshot())


def test_a_restart_continues_where_the_snapshot_was(provider: MlsRsProvider) -> None:
    host, (guest,) = host_and(provider, 1)
    first, second = host.seal(b"1"), host.seal(b"2")
    guest.open(first)
    host, guest = reborn(provider, host), reborn(provider, guest)
    with pytest.raises(MalformedError):
        guest.open(first)
    assert guest.open(second).data == b"2"
    assert guest.open(host.seal(b"3")).data == b"3"
    late = guest.seal(b"late")
    guest.process(host.refresh().commit, host.me)
    host, guest = reborn(provider, host), reborn(provider, guest)
    assert host.open(late).data == b"late"
    assert isinstance(host.me, Member) and host.roster() == guest.roster()


def test_a_candidate_has_a_name_of_its_own(provider: MlsRsProvider) -> None:
    one, two = provider.candidate(), provider.candidate()
    assert isinstance(one.key_package, bytes)
    ids = {member_of_key_package(each.key_package).id for each in (one, two)}
    assert len(ids) == 2 and all(len(each) == 16 for each in ids)


def test_a_key_package_is_good_from_the_second_of_its_making(provider: MlsRsProvider) -> None:
    before = int(time.time())
    start, end = lifetime_of_key_package(provider.candidate().key_package)
    assert before <= start <= int(time.time()) and 300 * 86_400 < end - start < 400 * 86_400
    with pytest.raises(MalformedError):
        lifetime_of_key_package(b"\0\1\0\5")


def test_a_message_that_fails_to_open_costs_nothing(provider: MlsRsProvider) -> None:
    """A member who forges in another one's name would spend the key of that one's next message."""
    host, (guest,) = host_and(provider, 1)
    said = host.seal(b"meant")
    guest.snapshot()
    for at in (-1, -30):
        bent = bytearray(said)
        bent[at] ^= 1
        with pytest.raises(MalformedError):
            guest.open(bytes(bent))
    with pytest.raises(MalformedError, match="behind"):
        guest.open(said + b"\0")
    assert guest.open(said).data == b"meant"
