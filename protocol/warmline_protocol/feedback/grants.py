"""Vouchers: the issuer's keys of an epoch under one root, and how a supporter spends what it was granted.

One key for each supporter and epoch, one leaf for each in the tree whose root the issuer posts with the number of its
vouchers. A voucher has no bytes of its own: it is a number below ``count`` that the issuer answers once. What the
issuer learns is that this supporter began a session now; that is written down in ``protocol/feedback.md``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from warmline_protocol import limits
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import BadSignatureError, RefusedError, StoreError, UsageError
from warmline_protocol.feedback import tree
from warmline_protocol.feedback.blind import PrivateKey, PublicKey
from warmline_protocol.feedback.messages import Grant, TokenAnswer, TokenAsk, TokenGiven, TokenRequest
from warmline_protocol.keys import SigningKey, verify
from warmline_protocol.session.cells import Draw

_KEYS = "keys"
_DOMAIN = "token-request"
_SNAPSHOT_MAX = 64 << 20


def key_leaf(issuer: bytes, epoch: int, count: int, modulus: bytes) -> bytes:
    """What the key root says about one supporter."""
    return encode([issuer, epoch, count, hashlib.sha256(modulus).digest()])


def check_grant(grant: Grant, key_root: bytes) -> None:
    """Raise :class:`BadSignatureError` unless the issuer's root of that epoch holds exactly this grant."""
    leaf = key_leaf(grant.issuer, grant.epoch, grant.count, grant.modulus)
    tree.check(_KEYS, key_root, grant.supporter, leaf, grant.proof)
    PublicKey(grant.modulus)


class IssuerEpoch:
    """An issuer's epoch: keys, grants, what was spent. Holds secrets.

    Save :meth:`snapshot` once, before the root is posted, and each new :meth:`answered` row before its answer leaves.
    """

    def __init__(
        self, issuer: bytes, epoch: int, counts: Mapping[bytes, int], keys: Mapping[bytes, PrivateKey]
    ) -> None:
        if set(counts) != set(keys) or not counts or len(counts) > limits.ITEMS_MAX:
            raise UsageError(f"an epoch needs a key and vouchers for each supporter, and at most {limits.ITEMS_MAX}")
        if sum(counts.values()) > limits.FEEDBACK_VOUCHERS_ALL:
            raise UsageError(f"an issuer grants at most {limits.FEEDBACK_VOUCHERS_ALL} vouchers in an epoch")
        if any(not 0 < count <= limits.FEEDBACK_VOUCHERS_MAX for count in counts.values()):
            raise UsageError(f"a supporter gets 1 to {limits.FEEDBACK_VOUCHERS_MAX} vouchers")
        self.issuer, self.epoch = issuer, epoch
        self._counts, self._keys = dict(counts), dict(keys)
        self._leaves = {wallet: self._leaf(wallet) for wallet in sorted(counts)}
        self._answers: dict[bytes, dict[int, tuple[bytes, bytes]]] = {wallet: {} for wallet in sorted(counts)}
        self.root = tree.root(_KEYS, self._leaves)
        """The key root to post; it can never change."""

    def _leaf(self, wallet: bytes) -> bytes:
        return key_leaf(self.issuer, self.epoch, self._counts[wallet], self._keys[wallet].public.modulus)

    @classmethod
    def open(
        cls, issuer: bytes, epoch: int, counts: Mapping[bytes, int], make_key: Callable[[], PrivateKey] | None = None
    ) -> IssuerEpoch:
        """Fresh keys for ``counts`` (supporter's wallet to vouchers). About 50 ms a supporter."""
        make = make_key or (lambda: PrivateKey.generate(limits.FEEDBACK_KEY_BITS))
        return cls(issuer, epoch, counts, {wallet: make() for wallet in sorted(counts)})

    @property
    def vouchers(self) -> int:
        """The number to post with the root."""
        return sum(self._counts.values())

    def spent(self, supporter: bytes) -> int:
        """How many vouchers a supporter has used."""
        return len(self._answers.get(supporter, {}))

    def grant(self, supporter: bytes) -> Grant:
        """What the supporter is told; :class:`RefusedError` if it has none."""
        if supporter not in self._counts:
            raise RefusedError("no grant", "no vouchers for this supporter in this epoch")
        key, proof = self._keys[supporter].public, tree.proof(self._leaves, supporter)
        return Grant(self.issuer, supporter, self.epoch, self._counts[supporter], key.modulus, proof)

    def answer(self, request: TokenRequest, speaks_for: Callable[[bytes, bytes], bool], draw: Draw) -> TokenAnswer:
        """Sign for one voucher. ``speaks_for(wallet, key)``: whether the delegation of that key stands now.

        The same request again gets the same answer; another one under a used number is refused.
        """
        if (request.issuer, request.epoch) != (self.issuer, self.epoch) or request.supporter not in self._counts:
            raise RefusedError("no grant", "no vouchers for this supporter in this epoch")
        verify(request.key, _DOMAIN, _signed(request), request.signature)
        if not speaks_for(request.supporter, request.key):
            raise RefusedError("denied", "this key does not speak for that wallet")
        if request.number >= self._counts[request.supporter]:
            raise RefusedError("no voucher", "all vouchers of this epoch are spent")
        answers = self._answers[request.supporter]
        if request.number in answers:
            blinded, signed = answers[request.number]
            if blinded != request.blinded:
                raise RefusedError("spent", "this voucher was spent on something else")
            return TokenAnswer(signed)
        signed = self._keys[request.supporter].sign(request.blinded, draw)
        answers[request.number] = (request.blinded, signed)
        return TokenAnswer(signed)

    def snapshot(self) -> bytes:
        """Keys and grants, secret; they never change."""
        people = [[wallet, self._counts[wallet], self._keys[wallet].save()] for wallet in sorted(self._counts)]
        return encode({"issuer": self.issuer, "epoch": self.epoch, "people": people})

    @classmethod
    def restore(cls, snapshot: bytes) -> IssuerEpoch:
        """The inverse; :meth:`remember` then brings back what was answered."""
        fields: Any = decode(snapshot, max_size=_SNAPSHOT_MAX)
        if not isinstance(fields, dict) or set(fields) != {"issuer", "epoch", "people"}:
            raise StoreError("a saved epoch that is not one")
        people = fields["people"]
        keys = {wallet: PrivateKey.load(key) for wallet, _, key in people}
        return cls(fields["issuer"], fields["epoch"], {wallet: count for wallet, count, _ in people}, keys)

    def answered(self, supporter: bytes, number: int) -> tuple[bytes, bytes]:
        """The request under a voucher and its answer, to be saved."""
        return self._answers[supporter][number]

    def remember(self, supporter: bytes, number: int, blinded: bytes, signed: bytes) -> None:
        """A saved row comes back."""
        self._answers[supporter][number] = (blinded, signed)


def _signed(request: TokenRequest) -> bytes:
    return encode([request.issuer, request.supporter, request.epoch, request.number, request.blinded])


class Purse:
    """The supporter's side of one grant. ``used`` must be saved before a request leaves, or a voucher is lost."""

    def __init__(self, grant: Grant, key_root: bytes, key: SigningKey, used: int = 0) -> None:
        """Checks the grant as seekers will; :class:`BadSignatureError` if the issuer posted something else."""
        check_grant(grant, key_root)
        self.grant = grant
        self._key = key
        self.used = used

    @property
    def left(self) -> int:
        return self.grant.count - self.used

    def request(self, ask: TokenAsk) -> TokenRequest:
        """Spend a voucher on a seeker's question; :class:`UsageError` when there is none left."""
        if self.left <= 0:
            raise UsageError("no vouchers are left in this epoch", hint="The next epoch brings new ones.")
        number, self.used = self.used, self.used + 1
        unsigned = TokenRequest(
            self.grant.issuer,
            self.grant.supporter,
            self.grant.epoch,
            number,
            ask.blinded,
            self._key.public,
            bytes(64),
        )
        signature = self._key.sign(_DOMAIN, _signed(unsigned))
        return TokenRequest(
            unsigned.issuer,
            unsigned.supporter,
            unsigned.epoch,
            number,
            ask.blinded,
            self._key.public,
            signature,
        )

    def given(self, request: TokenRequest, answer: TokenAnswer) -> TokenGiven:
        """What the seeker gets; :class:`BadSignatureError` when the issuer answered something else."""
        key = PublicKey(self.grant.modulus)
        if key.apply(int.from_bytes(answer.signed)) != int.from_bytes(request.blinded):
            raise BadSignatureError("the issuer's answer is no signature of what was asked")
        return TokenGiven(answer.signed)
