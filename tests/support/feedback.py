"""A small world of feedback: an issuer, supporters with vouchers, seekers, collectors, and a chain that is a dict."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from warmline.env import SeededRng
from warmline_protocol import limits
from warmline_protocol.feedback.batch import Ledger
from warmline_protocol.feedback.blind import PrivateKey
from warmline_protocol.feedback.collect import Collector
from warmline_protocol.feedback.epochs import Epochs
from warmline_protocol.feedback.grants import IssuerEpoch, Purse
from warmline_protocol.feedback.messages import CollectorSheet, Rating
from warmline_protocol.feedback.sheets import announce, check_announcement, sheet_digest, sign_digest, wallet_from
from warmline_protocol.feedback.tokens import Asking, Ticket
from warmline_protocol.keys import SigningKey
from warmline_protocol.session.xwing import SealingKey

CHAIN, CONTRACT = 31337, b"\xc0" * 20
DAY_S = 86_400
EPOCHS = Epochs(1_800_000_000, 7 * DAY_S)


def wallet(name: str) -> bytes:
    return name.encode().ljust(20, b"\xee")


@cache
def rsa_key(number: int) -> PrivateKey:
    """Keys are made once a process: what they are does not matter here."""
    return PrivateKey.generate(limits.FEEDBACK_KEY_BITS)


@dataclass
class Keeper:
    """One collector: its machine, its keys and its sheet."""

    machine: Collector
    secret: bytes
    key: SigningKey
    sealing: SealingKey
    sheet: CollectorSheet


@dataclass
class World:
    """``vouchers`` for each supporter and epoch."""

    supporters: tuple[str, ...] = ("ana", "ben")
    vouchers: int = 40
    seed: int = 0
    issuers: dict[int, IssuerEpoch] = field(default_factory=dict)
    purses: dict[tuple[str, int], Purse] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = SeededRng(f"feedback {self.seed}")
        self.draw = self.rng.bytes
        self.devices = {name: SigningKey(self.draw(32)) for name in self.supporters}
        self.issuer = wallet("issuer")

    def root_of(self, issuer: bytes, epoch: int) -> bytes | None:
        found = self.issuers.get(epoch)
        return found.root if found is not None and issuer == self.issuer else None

    def open(self, epoch: int) -> IssuerEpoch:
        """The issuer's epoch, and everybody's purse."""
        if epoch not in self.issuers:
            keys = iter(range(100 * self.seed, 100 * self.seed + len(self.supporters)))
            counts = {wallet(name): self.vouchers for name in self.supporters}
            made = IssuerEpoch.open(self.issuer, epoch, counts, lambda: rsa_key(next(keys)))
            self.issuers[epoch] = made
            for name in self.supporters:
                self.purses[name, epoch] = Purse(made.grant(wallet(name)), made.root, self.devices[name])
        return self.issuers[epoch]

    def speaks_for(self, owner: bytes, key: bytes) -> bool:
        return any(owner == wallet(name) and key == device.public for name, device in self.devices.items())

    def ticket(self, name: str, epoch: int) -> Ticket:
        """The token exchange at the beginning of a session."""
        issuer, purse = self.open(epoch), self.purses[name, epoch]
        asking = Asking(purse.grant, wallet(name), issuer.root, epoch, self.draw)
        request = purse.request(asking.ask)
        return asking.finish(purse.given(request, issuer.answer(request, self.speaks_for, self.draw)))

    def rating(self, name: str, epoch: int, *, again: bool = True) -> Rating:
        return self.ticket(name, epoch).rate(again, EPOCHS, self.draw)

    def ledger(self) -> Ledger:
        return Ledger(CHAIN, CONTRACT, self.root_of)

    def keeper(self) -> Keeper:
        secret, key, sealing = self.draw(32), SigningKey(self.draw(32)), SealingKey(self.draw(32))
        unsigned = CollectorSheet(
            CHAIN, CONTRACT, wallet_from(secret), key.public, sealing.public, 1, 1000, bytes(64) + b"\x1b"
        )
        signature = sign_digest(sheet_digest(unsigned), secret)
        sheet = CollectorSheet(CHAIN, CONTRACT, unsigned.collector, key.public, sealing.public, 1, 1000, signature)
        return Keeper(Collector(EPOCHS, self.ledger()), secret, key, sealing, sheet)


def exchange(epoch: int, keepers: list[Keeper]) -> None:
    """Everybody announces, and then reads what everybody announced."""
    sets = [(keeper, keeper.machine.cut_off(epoch)) for keeper in keepers]
    said = [(announce(keeper.sheet, epoch, held, keeper.key), keeper.sheet, held) for keeper, held in sets]
    for keeper in keepers:
        for announcement, sheet, held in said:
            check_announcement(announcement, sheet)
            keeper.machine.merge(announcement, held)


def late(epoch: int) -> int:
    """A time at which everything rated in the epoch before has been released."""
    return EPOCHS.end(epoch) - 60
