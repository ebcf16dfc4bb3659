"""The directory that a device keeps where its person asked for it: public records, their age, nothing else."""

from __future__ import annotations

import stat
from pathlib import Path

from support import records as make
from warmline.client.cache import DirectoryCache
from warmline.client.matching import Collection, Holding, Wanted
from warmline_protocol import limits
from warmline_protocol.records.envelope import end_record, open_record
from warmline_protocol.records.standing_sheet import sign_standing

NODE = make.key("node")
LATER = make.NOW + 3 * 3_600_000


def kept(folder: Path, *records: bytes, sheets: tuple[bytes, ...] = ()) -> DirectoryCache:
    cache = DirectoryCache(folder / "talk")
    cache.save(make.NOW, [open_record(data) for data in records], [(NODE.peer_id, "node house", sheets)])
    return cache


def test_it_comes_back_with_its_age_and_is_its_owners_alone(tmp_path: Path) -> None:
    cache = kept(tmp_path, make.signed_listing(), make.signed_card())
    found = cache.load(LATER)
    assert found is not None
    assert LATER - found.saved_ms == 3 * 3_600_000
    assert {record.kind for record in found.records} == {"listing", "card"}
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.path.parent.stat().st_mode) == 0o700
    assert [path.name for path in cache.path.parent.iterdir()] == [cache.path.name], "no temporary file is left"


def test_nothing_is_there_unless_it_was_asked_for_and_forgetting_deletes(tmp_path: Path) -> None:
    cache = DirectoryCache(tmp_path / "talk")
    assert not cache.exists
    assert cache.load(make.NOW) is None
    assert not cache.path.parent.exists()
    assert not cache.forget()
    cache = kept(tmp_path, make.signed_listing())
    assert cache.exists
    assert cache.forget()
    assert not cache.exists


def test_what_expired_meanwhile_is_not_shown_and_standing_ages_like_any_other(tmp_path: Path) -> None:
    sheet = sign_standing(make.head(), [make.standing("ana")], NODE)
    cache = kept(tmp_path, make.signed_listing(), sheets=(sheet,))
    fresh, old, over = (cache.load(make.NOW + ms) for ms in (1, 2 * 3_600_000, limits.LISTING_LIFE_MS + 1))
    assert fresh is not None
    assert old is not None
    assert over is not None
    (match,) = Collection(None, list(fresh.holdings), fresh.records).matches(Wanted(), make.NOW + 1)
    assert match.vouching.verified
    (match,) = Collection(None, list(old.holdings), old.records).matches(Wanted(), make.NOW + 2 * 3_600_000)
    assert not match.vouching.verified, "a block of two hours ago vouches for nobody"
    assert over.records == ()


def test_broken_cut_and_forged_files_are_no_cache(tmp_path: Path) -> None:
    cache = kept(tmp_path, make.signed_listing())
    whole = cache.path.read_bytes()
    forged = whole.replace(b"Quiet mornings", b"Quiet evenings")
    assert forged != whole
    for data in (b"", b"junk", whole[:20], forged, b"\xff" * 1000):
        cache.path.write_bytes(data)
        assert cache.load(make.NOW) is None
    cache.path.write_bytes(whole[:-1])
    found = cache.load(make.NOW)
    assert found is None or found.records == ()


def test_all_holders_together_cannot_take_back_what_the_device_has_seen(tmp_path: Path) -> None:
    before = kept(tmp_path, make.signed_listing(wallet=False)).load(make.NOW)
    assert before is not None
    empty = [Holding(name, name, (), None) for name in "abc"]
    assert len(Collection(None, empty, before.records).matches(Wanted(), make.NOW)) == 1
    ended = open_record(end_record(open_record(make.signed_listing(wallet=False)), make.key("ana"), make.NOW + 1))
    empty[0] = Holding("a", "a", (ended,), None)
    assert Collection(None, empty, before.records).matches(Wanted(), make.NOW) == [], "its owner can"
