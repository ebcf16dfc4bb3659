"""What an issuer is shown of feedback: supporters of its own with an alarm that stands, and no number."""

from __future__ import annotations

from warmline.chain.conduct import ConductNow, Post
from warmline.client.conduct_audit import AWAY, MATCHES, Checked, for_review
from warmline_protocol.feedback.batch import Recomputed, Total

ISSUER, OTHER = b"\x11" * 20, b"\x12" * 20
ANA, BEN, CLEO = b"\xaa" * 20, b"\xbb" * 20, b"\xcc" * 20


def post(epoch: int, **changes: object) -> Post:
    fields: dict[str, object] = {"previous_root": bytes(32), "root": bytes([epoch]) * 32, "data_hash": bytes(32)}
    return Post(epoch, **(fields | {"tokens": 10, "stands_at_s": 100} | changes))  # type: ignore[arg-type]


def checked(epoch: int, totals: dict[bytes, Total], issuers: dict[bytes, bytes]) -> Checked:
    serials = {bytes([epoch]) + who: (who, epoch - 1, issuers[who]) for who in totals}
    tokens = sum(total.tokens for total in totals.values())
    return Checked(post(epoch), MATCHES, "", Recomputed(epoch, bytes(32), bytes(32), tokens, totals, serials))


def test_an_alarm_is_shown_to_the_issuer_of_the_vouchers_and_only_while_it_stands() -> None:
    bad, good = Total(10, 9), Total(10, 3)
    granted = {ANA: ISSUER, BEN: ISSUER, CLEO: OTHER}
    one = checked(5, {ANA: bad, BEN: good, CLEO: bad}, granted)
    assert for_review([one], ISSUER, [one.post]) == [ANA]
    assert for_review([one], OTHER, [one.post]) == [CLEO]
    assert for_review([one], ISSUER, []) == []  # it can still be vetoed
    assert for_review([Checked(one.post, AWAY)], ISSUER, [one.post]) == []


def test_epochs_add_up_and_old_ones_are_forgotten() -> None:
    granted = {ANA: ISSUER}
    early = checked(5, {ANA: Total(10, 9)}, granted)
    soon = checked(6, {ANA: Total(30, 5)}, granted)
    late = checked(5 + 13, {ANA: Total(10, 1)}, granted)
    assert for_review([early, soon], ISSUER, [early.post, soon.post]) == []
    assert for_review([early], ISSUER, [early.post]) == [ANA]
    assert for_review([early, late], ISSUER, [early.post, late.post]) == []


def test_what_stands_is_neither_vetoed_nor_pending() -> None:
    posts = (post(3), post(4, vetoed=True), post(4, root=b"r" * 32), post(5, stands_at_s=300))
    seen = ConductNow(200, posts, {}, (), 0)
    assert [(each.epoch, each.root[:1]) for each in seen.standing()] == [(3, b"\x03"), (4, b"r")]
    assert seen.pending() == posts[3]
    assert seen.vetoed(4, bytes([4]) * 32)
    assert not seen.vetoed(4, b"r" * 32)
    assert ConductNow(300, posts, {}, (), 0).pending() is None
