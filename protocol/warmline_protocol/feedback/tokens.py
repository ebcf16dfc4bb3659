"""The seeker's side: a token while the session begins, a sealed rating when it is over, and then nothing.

The client makes a one-use key, lets the supporter have it blind-signed, and keeps the ticket in memory until the person
answers one question. What leaves then is exactly one cell, sealed to a collector, deposited at a drop that opens in the
next epoch; nothing stays behind. A ticket that nobody used is thrown away with the session.
"""

from __future__ import annotations

from dataclasses import dataclass

from warmline_protocol import limits
from warmline_protocol.codec import encode
from warmline_protocol.errors import BadSignatureError, MalformedError, UsageError
from warmline_protocol.feedback import blind
from warmline_protocol.feedback.blind import Blinding, PublicKey
from warmline_protocol.feedback.chance import randomise
from warmline_protocol.feedback.epochs import Epochs
from warmline_protocol.feedback.grants import check_grant
from warmline_protocol.feedback.messages import Grant, Rating, TokenAsk, TokenGiven
from warmline_protocol.keys import SigningKey, verify
from warmline_protocol.session import xwing
from warmline_protocol.session.cells import Draw
from warmline_protocol.wire import from_wire, to_wire

_PURPOSE = "rating"
_BODY = limits.CELL_SIZE - xwing.OVERHEAD


class Asking:
    """From the supporter's grant to the token."""

    def __init__(self, grant: Grant, supporter: bytes, key_root: bytes, epoch: int, draw: Draw) -> None:
        """``supporter``: the wallet of the card; ``key_root``: the issuer's for ``epoch``, as the chain has it now.

        :class:`BadSignatureError` when the grant is about somebody or something else: then no token can be had, and the
        word *verified* goes.
        """
        if grant.supporter != supporter or grant.epoch != epoch:
            raise BadSignatureError("a grant for another supporter or epoch")
        check_grant(grant, key_root)
        self._grant = grant
        self._key = SigningKey(draw(32))
        self._blinding: Blinding = blind.blind(
            PublicKey(grant.modulus), blind.prepare(_message(grant, self._key.public), draw), draw
        )

    @property
    def ask(self) -> TokenAsk:
        """What the supporter passes on."""
        return TokenAsk(self._blinding.blinded)

    def finish(self, given: TokenGiven) -> Ticket:
        """The ticket; :class:`BadSignatureError` if what came is no signature of the epoch key."""
        token = blind.finalize(PublicKey(self._grant.modulus), self._blinding, given.signed)
        return Ticket(self._grant, self._key, self._blinding.message[:32], token)


def _message(grant: Grant, serial: bytes) -> bytes:
    """What the token is a signature of, behind its random prefix: a serial, for this contract's epoch and people."""
    return encode(["warmline/1/token", grant.issuer, grant.supporter, grant.epoch, serial])


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to one answer about one supporter. Secret, in memory only."""

    grant: Grant
    key: SigningKey
    prefix: bytes
    token: bytes

    def rate(self, again: bool, epochs: Epochs, draw: Draw) -> Rating:
        """The rating for *I would talk to this person again*. Draws anew each time: call it once, and seal the same
        rating to each collector."""
        said = randomise(again, draw)
        signature = self.key.sign(_PURPOSE, _answer(self.grant, said))
        release = epochs.release(self.grant.epoch, draw)
        return Rating(self.grant, self.key.public, self.prefix, self.token, said, release, signature)


def _answer(grant: Grant, again: bool) -> bytes:
    return encode([grant.issuer, grant.supporter, grant.epoch, again])


def check_rating(rating: Rating, key_root: bytes) -> None:
    """Raise unless the issuer's key of that epoch signed this serial and the serial's key signed the answer.

    About 0.25 ms. Whether the serial was used before is the caller's to know.
    """
    check_grant(rating.grant, key_root)
    check_answer(rating)


def check_answer(rating: Rating) -> None:
    """The same for a grant that was checked already."""
    message = rating.prefix + _message(rating.grant, rating.serial)
    PublicKey(rating.grant.modulus).verify(message, rating.token)
    verify(rating.serial, _PURPOSE, _answer(rating.grant, rating.again), rating.signature)


def seal_rating(rating: Rating, collector: bytes) -> bytes:
    """One cell for a drop, which only the collector with this 1216-byte X-Wing key opens."""
    body = to_wire(rating)
    padded = len(body).to_bytes(2) + body
    if len(padded) > _BODY:
        raise UsageError("a rating that does not fit one cell")
    return xwing.seal(collector, padded.ljust(_BODY, b"\0"), _PURPOSE)


def open_rating(cell: bytes, key: xwing.SealingKey) -> Rating:
    """The inverse; :class:`MalformedError` for anything else."""
    if len(cell) != limits.CELL_SIZE:
        raise MalformedError("a sealed rating is one cell")
    padded = key.open(cell, _PURPOSE)
    size = int.from_bytes(padded[:2])
    if any(padded[2 + size :]):
        raise MalformedError("a rating whose padding is not zero")
    return from_wire(padded[2 : 2 + size], (Rating,))
