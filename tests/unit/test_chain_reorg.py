"""The window as a table: (blocks, what happens, what follows)."""

from __future__ import annotations

import pytest

from warmline.chain.reorg import DisconnectedError, FinalityBrokenError, Ref, Span, Window

BASE = Ref(10, b"10", 100)


def block(number: int, name: str, parent: str) -> Span:
    return Span(number, parent.encode(), Ref(number, name.encode(), number * 10))


@pytest.fixture
def window() -> Window:
    return Window(BASE, [block(11, "11", "10"), block(12, "12", "11"), block(13, "13", "12")])


@pytest.mark.parametrize(
    "span",
    [
        block(13, "x", "12"),  # the same height again
        block(15, "x", "13"),  # a gap
        block(14, "x", "12"),  # another parent
        Span(14, b"13", Ref(13, b"x", 0)),  # ends before it begins
    ],
)
def test_what_does_not_continue_the_tip_is_refused(window: Window, span: Span) -> None:
    with pytest.raises(DisconnectedError):
        window.grow(span)
    assert window.tip.hash == b"13"


def test_a_reorganisation_drops_and_grows(window: Window) -> None:
    assert [window.drop().last.hash for _ in range(2)] == [b"13", b"12"]
    window.grow(block(12, "12b", "11"))
    assert window.tip.hash == b"12b"


@pytest.mark.parametrize(
    ("number", "final"), [(10, []), (11, [b"11"]), (13, [b"11", b"12", b"13"]), (99, [b"11", b"12", b"13"])]
)
def test_final_blocks_leave_the_window(window: Window, number: int, final: list[bytes]) -> None:
    assert window.ripe(number) is bool(final)
    assert [span.last.hash for span in window.finalize(number)] == final
    assert window.base.hash == (final[-1] if final else b"10")
    assert len(window) == 3 - len(final)


def test_a_span_of_many_blocks_is_final_as_a_whole() -> None:
    window = Window(BASE, [Span(11, b"10", Ref(20, b"20", 0))])
    assert window.finalize(19) == []
    assert window.finalize(20)[0].first == 11


def test_final_blocks_cannot_be_dropped(window: Window) -> None:
    window.finalize(13)
    with pytest.raises(FinalityBrokenError) as caught:
        window.drop()
    assert "start" in caught.value.hint


@pytest.mark.parametrize(("number", "hash_"), [(9, None), (10, b"10"), (12, b"12"), (99, b"13")])
def test_below_finds_what_a_lagging_endpoint_can_confirm(window: Window, number: int, hash_: bytes | None) -> None:
    found = window.below(number)
    assert (found and found.hash) == hash_


def test_the_window_is_bounded() -> None:
    window = Window(BASE, [block(11, "11", "10")], limit=1)
    assert window.full
