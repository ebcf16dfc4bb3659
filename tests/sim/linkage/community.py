"""A hundred epochs of a community, and what each party of the game sees of them.

Sessions, ratings and times are drawn here; chance, release times and the choice of tens are the protocol's own.
Signatures are left out: that a token fits every request equally is shown with real bytes elsewhere
(``unit/test_feedback_tokens.py``), so that the bytes of both carry nothing that a game could use.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from warmline.env import SeededRng
from warmline_protocol import limits
from warmline_protocol.feedback.chance import randomise
from warmline_protocol.feedback.collect import select
from warmline_protocol.feedback.epochs import Epochs
from warmline_protocol.feedback.messages import Grant, Rating

EPOCHS = Epochs(1_800_000_000, 7 * 86_400)
NOBODY = bytes(20)


@dataclass(frozen=True, slots=True)
class Setting:
    """How many, how often, and how things are done. ``release`` and ``say`` are what a broken client would do."""

    epochs: int = 100
    supporters: int = 30
    sessions: tuple[float, ...] = (2.0, 4.0, 6.0, 10.0)
    """Verified sessions in an epoch, by supporter in turn: volunteers of two to five hours a week."""
    rated: float = 0.6
    noes: float = 0.07
    vouchers: int = 200
    collectors: int = 3
    release: Callable[[int, int, Callable[[int], bytes]], int] | None = None
    say: Callable[[bool, Callable[[int], bytes]], bool] | None = None
    blind: bool = True


@dataclass(frozen=True, slots=True)
class Session:
    """What the supporter of a session knows, and (``meant``, ``serial``) what only the seeker does."""

    supporter: int
    epoch: int
    end_s: int
    meant: bool | None
    serial: bytes | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A line of the issuer's log. ``bytes`` are random, unless tokens are not blinded."""

    supporter: int
    epoch: int
    time_s: int
    number: int
    asked: bytes


@dataclass(frozen=True, slots=True)
class Arrived:
    """A line of a collector's log."""

    time_s: int
    place: int
    rating: Rating


@dataclass
class Views:
    """Everything that the adversary may have, and the truth to score it by."""

    sessions: dict[tuple[int, int], list[Session]] = field(default_factory=lambda: defaultdict(list))
    issuer: dict[tuple[int, int], list[Asked]] = field(default_factory=lambda: defaultdict(list))
    collector: dict[bytes, Arrived] = field(default_factory=dict)
    published: dict[bytes, tuple[int, Rating]] = field(default_factory=dict)
    """The chain's batches: serial to the epoch posted for, and the row."""


def wallet(supporter: int) -> bytes:
    return supporter.to_bytes(20)


def live(seed: int, setting: Setting) -> Views:
    """Let the epochs pass."""
    chance, draw = random.Random(seed), SeededRng(f"linkage {seed}").bytes
    views = Views()
    waiting: list[Rating] = []
    for epoch in range(1, setting.epochs + 1):
        fresh: list[Rating] = []
        for supporter in range(setting.supporters):
            for number, time_s in enumerate(_times(supporter, epoch, setting, chance)):
                session, rating = _session(supporter, epoch, time_s, setting, chance, draw)
                views.sessions[supporter, epoch].append(session)
                asked = draw(32) if setting.blind or session.serial is None else session.serial
                views.issuer[supporter, epoch].append(Asked(supporter, epoch, time_s - 1800, number, asked))
                fresh += [rating] if rating is not None else []
        waiting = _post(epoch, waiting, setting, views)
        _collect(fresh, setting, chance, views)
        waiting += fresh
    _post(setting.epochs + 1, waiting, setting, views)
    return views


def _times(supporter: int, epoch: int, setting: Setting, chance: random.Random) -> list[int]:
    rate = setting.sessions[supporter % len(setting.sessions)]
    count, left = 0, chance.expovariate(1.0)
    while left < rate and count < setting.vouchers:
        count, left = count + 1, left + chance.expovariate(1.0)
    start = EPOCHS.start(epoch)
    return sorted(start + int(chance.random() * EPOCHS.length_s) for _ in range(count))


def _session(
    supporter: int, epoch: int, time_s: int, setting: Setting, chance: random.Random, draw: Callable[[int], bytes]
) -> tuple[Session, Rating | None]:
    if chance.random() >= setting.rated:
        return Session(supporter, epoch, time_s, None, None), None
    meant, serial = chance.random() >= setting.noes, draw(32)
    said = (setting.say or randomise)(meant, draw)
    release = setting.release(epoch, time_s, draw) if setting.release else EPOCHS.release(epoch, draw)
    grant = Grant(NOBODY, wallet(supporter), epoch, setting.vouchers, bytes(limits.FEEDBACK_KEY_SIZE), ())
    rating = Rating(grant, serial, bytes(32), bytes(limits.FEEDBACK_KEY_SIZE), said, release, bytes(64))
    return Session(supporter, epoch, time_s, meant, serial), rating


def _collect(fresh: list[Rating], setting: Setting, chance: random.Random, views: Views) -> None:
    """Each rating goes to two collectors; the adversary is one. It reads its drops every few minutes."""
    seen = [rating for rating in fresh if chance.random() < 2 / setting.collectors]
    chance.shuffle(seen)
    arrivals = sorted((rating.not_before_s + chance.randrange(300), place, rating) for place, rating in enumerate(seen))
    for place, (time_s, _, rating) in enumerate(arrivals):
        views.collector[rating.serial] = Arrived(time_s, place, rating)


def _post(epoch: int, waiting: list[Rating], setting: Setting, views: Views) -> list[Rating]:
    chosen = select(waiting, setting.vouchers * setting.supporters)
    for rating in chosen:
        views.published[rating.serial] = (epoch, rating)
    oldest = epoch - limits.FEEDBACK_WINDOW_EPOCHS
    return [each for each in waiting if each.serial not in views.published and each.grant.epoch > oldest]


def fingerprint(rating: Rating) -> bytes:
    """The order in which tens are chosen: anybody can compute it."""
    return hashlib.sha256(rating.serial).digest()
