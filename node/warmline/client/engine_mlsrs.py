"""The MLS engine of the Python client: mls-rs through its UniFFI binding (suite 0x0001).

What the binding lacks is made up for here, each gap measured against the pinned wheel:

* It names no member: identities are opaque and only compare. Expected ones are rebuilt from the exported tree, and a
  sender is found by comparison.
* It deletes nothing: a store that keeps past epochs keeps them readable. ``_Store.forget`` deletes them. The highest
  epoch number must survive that, or the next commit fails as "incorrect epoch".
* It applies a commit of anybody, and what fails to open costs the key of its generation all the same, so that a member
  who forges could spend another one's keys. Every change is written to the store at once, and what must not have
  happened is undone by loading the group again.
* It sets a key package's lifetime from this very second, and checks others' by this machine's clock, with no slack.
* Private halves of key packages live in memory only: a restart with a pending Welcome needs a fresh Hello.

The wheel is imported when the first group is made: no other command pays for 7 MB of library.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import ConfigError, MalformedError, StoreError, UsageError
from warmline_protocol.session.mls import Candidate, Commit, Group, Member, Opened, Roster
from warmline_protocol.session.mlswire import (
    IDENTITY_SIZE,
    check_key_packages,
    is_application,
    members_of_tree,
)

_SNAPSHOT_MAX = 8 << 20


@cache
def _wheel() -> Any:
    try:
        return importlib.import_module("mls_rs_uniffi")
    except ImportError as error:
        raise ConfigError(
            f"the encryption engine is missing ({error})", hint="Install it: pip install 'warmline[client]'."
        ) from None


@cache
def _store_class() -> type[Any]:
    base: type[Any] = _wheel().GroupStateStorage
    return type("Store", (_Store, base), {})


class _Store:
    """State of one group as the engine hands it over. ``top`` never falls (see the module's text)."""

    def __init__(self) -> None:
        self.group = b""
        self.epochs: dict[int, bytes] = {}
        self.top: int | None = None

    def state(self, group_id: bytes) -> bytes | None:
        return self.group or None

    def epoch(self, group_id: bytes, epoch_id: int) -> bytes | None:
        return self.epochs.get(epoch_id)

    def max_epoch_id(self, group_id: bytes) -> int | None:
        return self.top

    def write(self, group_id: bytes, group_state: bytes, epoch_inserts: list[Any], epoch_updates: list[Any]) -> None:
        self.group = group_state
        for record in epoch_inserts:
            self.epochs[record.id] = record.data
            self.top = record.id if self.top is None else max(self.top, record.id)
        for record in epoch_updates:
            if record.id in self.epochs:
                self.epochs[record.id] = record.data
        for old in [number for number in self.epochs if self.top is not None and number < self.top]:
            del self.epochs[old]

    def forget(self) -> None:
        self.epochs.clear()


@contextmanager
def _theirs(what: str) -> Iterator[None]:
    """Errors of the engine while it reads what came from outside."""
    wheel = _wheel()
    try:
        yield
    except (wheel.Error, wheel.InternalError) as error:
        raise MalformedError(f"{what}: {error}") from None


def _parse(message: bytes) -> Any:
    """One whole MLS message: the engine itself passes over whatever stands behind it."""
    parsed = _wheel().Message.from_bytes(message)
    if parsed.to_bytes() != message:
        raise MalformedError("bytes behind an MLS message")
    return parsed


class MlsRsProvider:
    """Makes groups; ``draw`` brings the random credentials, the engine draws its own keys."""

    def __init__(self, draw: Callable[[int], bytes]) -> None:
        self._draw = draw

    def _client(self) -> _Client:
        wheel = _wheel()
        pair = wheel.generate_signature_keypair(wheel.CipherSuite.CURVE25519_AES128)
        return _Client(self._draw(IDENTITY_SIZE), pair.public_key.bytes, pair.secret_key.bytes, _store_class()())

    def create(self, group_id: bytes) -> Group:
        """A group of one."""
        client = self._client()
        group = MlsRsGroup(client, client.handle.create_group(group_id), group_id)
        group.save()
        return group

    def candidate(self) -> Candidate:
        """A fresh key package."""
        return _Candidate(self._client())

    def restore(self, snapshot: bytes) -> Group:
        """The group that :meth:`MlsRsGroup.snapshot` saved."""
        fields = decode(snapshot, max_size=_SNAPSHOT_MAX)
        if not isinstance(fields, dict):
            raise StoreError("a saved group that is not one")
        store = _store_class()()
        store.group, store.top = fields["state"], fields.get("top")
        store.epochs = dict(fields["epochs"])
        client = _Client(fields["id"], fields["public"], fields["secret"], store)
        return MlsRsGroup(client, client.handle.load_group(fields["group"]), fields["group"])


class _Client:
    """One credential, its keys and its store."""

    def __init__(self, identity: bytes, public: bytes, secret: bytes, store: Any) -> None:
        wheel = _wheel()
        self.member = Member(identity, public)
        self.secret = secret
        self.store = store
        config = wheel.ClientConfig(group_state_storage=store, use_ratchet_tree_extension=True)
        self.handle = wheel.Client(id=identity, signature_keypair=_pair(public, secret), client_config=config)


def _pair(public: bytes, secret: bytes) -> Any:
    wheel = _wheel()
    return wheel.SignatureKeypair(
        cipher_suite=wheel.CipherSuite.CURVE25519_AES128,
        public_key=wheel.SignaturePublicKey(bytes=public),
        secret_key=wheel.SignatureSecretKey(bytes=secret),
    )


def _identity(member: Member) -> Any:
    """The engine's opaque identity of ``member``, for comparing and for removing."""
    wheel = _wheel()
    pair = _pair(member.key, bytes(32) + member.key)
    return wheel.Client(
        id=member.id, signature_keypair=pair, client_config=wheel.client_config_default()
    ).signing_identity()


class _Candidate:
    def __init__(self, client: _Client) -> None:
        self._client = client
        self._package: bytes = client.handle.generate_key_package_message().to_bytes()

    @property
    def key_package(self) -> bytes:
        return self._package

    def join(self, welcome: bytes) -> Group:
        with _theirs("a Welcome that does not open"):
            joined = self._client.handle.join_group(None, _parse(welcome)).group
            joined.write_to_storage()
        # The binding does not say a joined group's id; every message names it in clear.
        group = MlsRsGroup(self._client, joined, _group_id_of(joined))
        group.save()
        return group


def _group_id_of(joined: Any) -> bytes:
    message: bytes = joined.encrypt_application_message(b"").to_bytes()
    if not is_application(message) or message[4] >= 0x40:
        raise MalformedError("a group whose id is longer than 63 bytes")
    return message[5 : 5 + message[4]]


class MlsRsGroup:
    """:class:`warmline_protocol.session.mls.Group` over mls-rs."""

    def __init__(self, client: _Client, handle: Any, group_id: bytes) -> None:
        self._client = client
        self._handle = handle
        self._group_id = group_id
        self._roster: Roster = ()
        self._identities: dict[Member, Any] = {}
        self._read_roster()

    @property
    def group_id(self) -> bytes:
        return self._group_id

    @property
    def me(self) -> Member:
        return self._client.member

    def roster(self) -> Roster:
        return self._roster

    def _read_roster(self) -> None:
        self._roster = members_of_tree(self._handle.export_tree().bytes)
        # The members of the epoch before are kept: their last messages may still be on the way.
        known = self._identities
        self._identities = {member: known.get(member) or _identity(member) for member in self._roster}
        self._former = {member: known[member] for member in known if member not in self._identities}

    def save(self) -> None:
        """Hand the engine's state to the store."""
        self._handle.write_to_storage()

    def _undo(self) -> None:
        self._handle = self._client.handle.load_group(self._group_id)

    def _who(self, identity: Any) -> Member:
        for member, expected in (*self._identities.items(), *self._former.items()):
            if expected == identity:
                return member
        raise MalformedError("a message of nobody in this group")

    def export(self, label: bytes, context: bytes, size: int) -> bytes:
        secret: bytes = self._handle.export_secret(label, context, size)
        return secret

    def seal(self, plaintext: bytes) -> bytes:
        message: bytes = self._handle.encrypt_application_message(plaintext).to_bytes()
        self.save()
        return message

    def open(self, message: bytes) -> Opened:
        if not is_application(message):
            raise MalformedError("an MLS message that is not an application message")
        received = self._process("a message that does not decrypt", message)
        sender = self._who(received.sender)
        self.save()
        return Opened(sender, received.data)

    def add(self, key_packages: Sequence[bytes]) -> Commit:
        new = check_key_packages(key_packages, self._roster)
        with _theirs("a key package that the engine refuses"):
            messages = [_parse(package) for package in key_packages]
            made = self._commit(lambda: self._handle.add_members(messages))
        if not set(new) <= set(self._roster):
            raise MalformedError("a key package that added somebody else")
        return made

    def remove(self, members: Sequence[Member]) -> Commit:
        unknown = [member for member in members if member not in self._identities]
        if unknown:
            raise UsageError("cannot remove someone who is not a member")
        return self._commit(lambda: self._handle.remove_members([self._identities[each] for each in members]))

    def refresh(self) -> Commit:
        return self._commit(lambda: self._handle.commit())

    def _commit(self, make: Callable[[], Any]) -> Commit:
        try:
            made = make()
            self._handle.process_incoming_message(made.commit_message)
        except _wheel().Error:
            self._undo()
            raise
        self.save()
        self._read_roster()
        welcome = made.welcome_message.to_bytes() if made.welcome_message is not None else b""
        return Commit(made.commit_message.to_bytes(), welcome)

    def process(self, commit: bytes, committer: Member) -> Roster:
        received = self._process("a commit that does not apply", commit)
        wheel = _wheel()
        if not received.is_commit() or self._who(received.committer) != committer:
            self._undo()
            raise MalformedError("a commit by someone who may not commit here")
        if isinstance(received.effect, wheel.CommitEffect.REMOVED):
            self._roster = ()
            return ()
        self.save()
        self._read_roster()
        return self._roster

    def _process(self, failure: str, message: bytes) -> Any:
        with _theirs(failure):
            parsed = _parse(message)
            try:
                return self._handle.process_incoming_message(parsed)
            except _wheel().Error:
                self._undo()
                raise

    def forget_previous(self) -> None:
        # Written first: an old epoch that was just used sits in the engine until then, and would come back.
        self.save()
        self._client.store.forget()
        self._former = {}

    def snapshot(self) -> bytes:
        store = self._client.store
        fields: dict[str, object] = {
            "group": self._group_id,
            "id": self.me.id,
            "public": self.me.key,
            "secret": self._client.secret,
            "state": store.group,
            "epochs": [[number, store.epochs[number]] for number in sorted(store.epochs)],
        }
        if store.top is not None:
            fields["top"] = store.top
        return encode(fields)
