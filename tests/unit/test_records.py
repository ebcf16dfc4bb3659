"""Records: what is signed, what is refused, and what replaces what."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from support import records as make
from warmline_protocol import limits
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import BadSignatureError, MalformedError, OversizeError, RemoteError, UsageError
from warmline_protocol.records.card import AgeBand
from warmline_protocol.records.conduct import Conduct, KeyRoot
from warmline_protocol.records.delegation import NODE, Delegation, recover, with_signature
from warmline_protocol.records.digests import all_digests, differing, pack_entry, read_entries
from warmline_protocol.records.envelope import (
    CARD,
    LISTING,
    TOMBSTONE,
    Tombstone,
    end_record,
    open_record,
    record_id,
    sign_record,
)
from warmline_protocol.records.listing import Slot
from warmline_protocol.records.merge import living, newest, stamp_of
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.records.snapshot import (
    Row,
    bucket_at,
    bucket_count,
    build_snapshot,
    check_manifest,
    read_bodies,
    read_index,
    shard_depth,
    shard_of,
    split_rows,
    summarise,
)
from warmline_protocol.records.standing_sheet import read_standing, sign_standing
from warmline_protocol.wire import pack

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def remade(data: bytes, **changes: Any) -> bytes:
    fields = decode(data)
    assert isinstance(fields, dict)
    return encode({**fields, **changes})


@pytest.mark.parametrize(
    "data", [make.signed_listing(), make.signed_card(), make.signed_node(), make.signed_listing(wallet=False)]
)
def test_a_record_opens_as_it_was_signed(data: bytes) -> None:
    record = open_record(data)
    assert record.data == data
    assert len(record.id) == 32
    assert record.expires <= record.body.not_after


def test_the_owner_is_the_wallet_where_one_delegated() -> None:
    assert open_record(make.signed_listing()).owner == make.wallet_of("ana")
    assert open_record(make.signed_listing(wallet=False)).owner == make.key("ana").public


def test_ids_separate_kind_owner_and_slug() -> None:
    owners = (make.wallet_of("ana"), make.wallet_of("ben"))
    ids = [record_id(*parts) for parts in itertools.product((CARD, LISTING), owners, ("", "a1", "b1"))]
    assert len(set(ids)) == len(ids)


def test_every_flipped_byte_is_refused() -> None:
    data = make.signed_listing()
    for index in range(0, len(data), 7):
        bent = bytearray(data)
        bent[index] ^= 1
        with pytest.raises(RemoteError):
            open_record(bytes(bent))


def test_a_delegation_can_neither_be_taken_off_nor_put_on() -> None:
    fields = decode(make.signed_listing())
    assert isinstance(fields, dict)
    stripped = {name: value for name, value in fields.items() if name != "delegation"}
    with pytest.raises(MalformedError, match="owner"):
        open_record(encode(stripped))
    with pytest.raises(MalformedError, match="owner"):
        open_record(remade(make.signed_listing(wallet=False), delegation=pack(make.delegation())))


def test_a_stranger_cannot_sign_for_the_wallet() -> None:
    body = make.listing(make.wallet_of("ana"))
    with pytest.raises(UsageError, match="another key"):
        sign_record(body, make.key("mallory"), make.delegation())


def test_a_forged_delegation_is_a_bad_signature() -> None:
    forged = replace(make.delegation("mallory"), wallet=make.wallet_of("ana"))
    fields = decode(make.signed_listing())
    assert isinstance(fields, dict)
    with pytest.raises(BadSignatureError):
        body = make.listing(make.wallet_of("ana"))
        packed = encode(pack(body))
        mallory = make.key("mallory")
        open_record(
            encode(
                {
                    "kind": LISTING,
                    "body": packed,
                    "key": mallory.public,
                    "sig": mallory.sign("record/listing", packed),
                    "delegation": pack(forged),
                }
            )
        )


def test_a_nodes_delegation_does_not_speak_as_a_supporter() -> None:
    given = make.delegation(scope=NODE)
    with pytest.raises(UsageError, match="scope"):
        sign_record(make.listing(given.wallet), make.key("ana"), given)
    proven = sign_record(make.node_record("ana", wallet=given.wallet), make.key("ana"), given)
    assert open_record(proven).owner == make.key("ana").public
    with pytest.raises(UsageError, match="operator's wallet"):
        sign_record(make.node_record("ana", wallet=given.wallet), make.key("ana"))


def test_a_record_signed_after_its_delegation_ended_is_refused() -> None:
    given = make.delegation()
    late = given.not_after_s * 1000 + limits.CLOCK_SKEW_MS + 1
    with pytest.raises(UsageError, match="outside the time"):
        sign_record(make.listing(given.wallet, at_ms=late), make.key("ana"), given)


def test_a_record_ends_with_its_delegation() -> None:
    start = make.NOW // 1000
    given = make.delegation(not_before_s=start, not_after_s=start + 3600)
    record = open_record(sign_record(make.listing(given.wallet), make.key("ana"), given))
    assert record.expires == (start + 3600) * 1000


@pytest.mark.parametrize(
    "changes",
    [
        {"not_after": make.NOW + limits.LISTING_LIFE_MS + 1},
        {"not_after": make.NOW},
        {"title": "Quiet \x1b[2J mornings"},
        {"title": "sgninrom \u202eteiuQ"},
        {"title": " Quiet mornings"},
        {"summary": "x" * 1201},
        {"slots": ()},
        {"slots": (Slot(1, 600, 60), Slot(1, 600, 60))},
        {"capacity": 13},
        {"capacity": 51},
        {"kind": "one-to-one"},
        {"min_participants": 13},
        {"languages": ("English",)},
        {"topics": ("New Parents",)},
        {"zone": "../../etc/passwd"},
        {"slug": "Quiet mornings"},
        {"opens": make.NOW, "closes": make.NOW},
        {"rules": ()},
    ],
)
def test_a_listing_that_breaks_a_rule_cannot_be_signed(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        make.signed_listing(**changes)


def test_age_bands_are_adult_and_in_order() -> None:
    with pytest.raises(UsageError):
        AgeBand(40, 30)
    with pytest.raises(UsageError):
        make.signed_listing(age=AgeBand(13, 17))
    assert AgeBand(18, 30).overlaps(AgeBand(30, 120))
    assert not AgeBand(18, 29).overlaps(AgeBand(30, 120))


def test_a_room_of_more_than_twelve_needs_two() -> None:
    second = (record_id(CARD, make.wallet_of("ben")),)
    assert open_record(make.signed_listing(capacity=20, co_facilitators=second)).kind == LISTING


def test_addresses_name_their_own_peer() -> None:
    ana, ben = make.key("ana").peer_id, make.key("ben").peer_id
    with pytest.raises(UsageError):
        NodeAddress(ana, (f"/ip4/10.0.0.1/tcp/4001/p2p/{ben}",))
    with pytest.raises(UsageError):
        NodeAddress(ana, (f"/ip4/10.0.0.1/tcp/4001/p2p/{ben}/p2p-circuit/p2p/{ana}",))


def test_the_largest_listing_fits() -> None:
    data = make.signed_listing(
        title="t" * 80,
        summary="s" * 1200,
        rules=tuple(f"{i}" * 300 for i in range(8)),
        accessibility=tuple(f"{i}" * 300 for i in range(6)),
        topics=tuple(f"{i}" * 32 for i in range(8)),
        slots=tuple(Slot(i % 7, 600 + i, 60) for i in range(14)),
    )
    assert len(data) < limits.RECORD_MAX
    with pytest.raises(OversizeError):
        open_record(bytes(limits.RECORD_MAX + 1))


# --- delegation --------------------------------------------------------------------------------------------------


def test_the_digest_is_what_a_wallet_signs() -> None:
    unsigned = replace(make.delegation(), signature=None)
    document = encode_typed_data(full_message=unsigned.typed_data())
    signed = Account.sign_message(document, make.wallet_secret("ana"))
    assert with_signature(unsigned, bytes(signed.signature)) == make.delegation()
    assert (
        Account.recover_message(document, signature=signed.signature)
        == Account.from_key(make.wallet_secret("ana")).address
    )


def test_the_wallet_shows_a_sentence_with_a_date() -> None:
    assert make.delegation().statement == (
        "This device key may sign my warmline card, my group listings and my sessions "
        "until 04 February 2027 08:00 UTC. It cannot move money."
    )


def test_a_bent_signature_is_refused() -> None:
    given = make.delegation()
    assert given.signature is not None
    r, s, v = given.signature[:32], int.from_bytes(given.signature[32:64]), given.signature[64]
    mirrored = r + (ORDER - s).to_bytes(32) + bytes([55 - v])
    with pytest.raises(BadSignatureError, match="high s"):
        recover(given.digest(), mirrored)
    for other in (0, 1, 29, 255):
        with pytest.raises(BadSignatureError, match="v is"):
            recover(given.digest(), given.signature[:64] + bytes([other]))
    for broken in (bytes(64), b"\xff" * 32 + given.signature[32:64], r + bytes(32)):
        with pytest.raises(BadSignatureError):
            recover(given.digest(), broken + b"\x1b")


@pytest.mark.parametrize("seconds", [0, -1, limits.DELEGATION_LIFE_S + 1])
def test_a_delegation_lasts_thirty_days_at_most(seconds: int) -> None:
    with pytest.raises(UsageError, match="30 days"):
        Delegation(bytes(20), bytes(32), "supporter", 1000, 1000 + seconds, 1, bytes(20))


# --- merge, digests, snapshot ------------------------------------------------------------------------------------


def test_the_newest_wins_in_any_order() -> None:
    versions = [open_record(make.signed_listing(at_ms=make.NOW + step)) for step in range(3)]
    for order in itertools.permutations(versions):
        assert list(newest(order).values()) == [versions[2]]


def test_a_tombstone_beats_what_it_ends_and_outlives_it() -> None:
    record = open_record(make.signed_listing())
    ended = open_record(end_record(record, make.key("ana"), make.NOW, make.delegation()))
    assert ended.id == record.id
    assert ended.kind == TOMBSTONE
    assert stamp_of(ended) > stamp_of(record)
    assert ended.body.not_after >= record.body.not_after
    assert living([ended, record], make.NOW) == []
    again = open_record(make.signed_listing(at_ms=make.NOW + 60_000))
    assert living([again, ended, record], make.NOW + 60_000) == [again]


def test_a_short_tombstone_is_malformed() -> None:
    with pytest.raises(UsageError, match="outlive"):
        Tombstone(bytes(32), LISTING, "quiet-mornings", make.NOW, make.NOW + 1000)


def test_digests_agree_whatever_the_order_and_differ_where_they_should() -> None:
    entries = {bytes([i]) + bytes(31): bytes([i + 1]) * 32 for i in range(40)}
    ours = all_digests(entries)
    assert ours == all_digests(dict(reversed(entries.items())))
    theirs = all_digests({**entries, bytes([7]) + bytes(31): b"x" * 32, bytes([9]) + b"y" * 31: bytes(32)})
    assert differing(ours, theirs) == (7, 9)
    assert len(ours) == 4096


def many(count: int) -> list[Any]:
    body = [open_record(make.signed_listing(slug=f"group-{i}", wallet=False)) for i in range(count)]
    return sorted(body, key=lambda record: record.id)


def rows_of(records: list[Any]) -> list[Row]:
    return [Row(record.id, summarise(record), record.data, record.wallet) for record in records]


NODE_KEY = make.key("node")


def test_shards_split_by_rule_when_one_index_would_be_too_large() -> None:
    most = limits.SNAPSHOT_INDEX_MAX
    assert shard_depth(0, 0) == 0
    assert shard_depth(8128, most) == 0, "one shard until the index passes 2 MiB"
    assert shard_depth(8200, most + 1) == 2
    for records in (8200, 40_000, 1_000_000, 10_000_000):
        shards = 1 << shard_depth(records, records * 258)
        assert limits.SHARD_RECORDS // 2 < records / shards <= limits.SHARD_RECORDS
    assert shard_depth(10**9, 10**12) == 12, "4096 at most"
    assert [shard_of(bytes([byte]) + bytes(31), 2) for byte in (0, 63, 64, 255)] == [0, 0, 1, 3]
    assert shard_of(b"\xff" * 32, 0) == 0


def test_every_row_is_in_one_shard_and_all_shards_in_order() -> None:
    rows = [Row(bytes([n % 256, n >> 8]) + bytes(30), bytes(250), b"record", None) for n in range(9000)]
    rows.sort(key=lambda row: row.id)
    split = split_rows(rows)
    assert len(split) == 4
    assert [row for shard in split for row in shard] == rows
    for shard, theirs in enumerate(split):
        snapshot = build_snapshot(theirs, b"", make.NOW, NODE_KEY, shard=shard, shards=4)
        assert snapshot.manifest.index_size <= limits.SNAPSHOT_INDEX_MAX
        assert min(map(len, snapshot.bodies)) >= limits.SNAPSHOT_BUCKET_MIN * 7
        check_manifest(snapshot.manifest, NODE_KEY.public, shard)


def test_a_manifest_is_one_nodes_word_about_one_shard() -> None:
    manifest = build_snapshot(rows_of(many(3)), b"", make.NOW, NODE_KEY).manifest
    with pytest.raises(BadSignatureError):
        check_manifest(manifest, make.key("another").public, 0)
    with pytest.raises(BadSignatureError):
        check_manifest(replace(manifest, index_size=manifest.index_size + 1), NODE_KEY.public, 0)
    with pytest.raises(MalformedError):
        check_manifest(manifest, NODE_KEY.public, 1)
    same = build_snapshot(rows_of(many(3)), b"", make.NOW + 5, make.key("another")).manifest
    assert (same.index_hash, same.bucket_hashes) == (manifest.index_hash, manifest.bucket_hashes)


def test_sync_entries_read_back_and_cut_or_unordered_ones_are_refused() -> None:
    records = many(5)
    data = b"".join(pack_entry(r.id, r.seq, r.digest) for r in records)
    assert len(data) == 5 * limits.DIGEST_ENTRY
    assert [(e.prefix, e.seq, e.print) for e in read_entries(data)] == [
        (r.id[:8], r.seq, r.digest[:8]) for r in records
    ]
    for broken in (data[:-1], data[limits.DIGEST_ENTRY :] + data[: limits.DIGEST_ENTRY]):
        with pytest.raises(MalformedError):
            read_entries(broken)


def test_a_snapshot_reads_back() -> None:
    records = many(70)
    snapshot = build_snapshot(rows_of(records), b"", make.NOW, NODE_KEY)
    check_manifest(snapshot.manifest, NODE_KEY.public, 0)
    rows = read_index(snapshot.index)
    assert [row.id for row in rows] == [record.id for record in records]
    assert rows[0].weekly == records[0].body.slots
    assert len(snapshot.bodies) == 2
    bodies = [data for bucket in snapshot.bodies for data in read_bodies(bucket)]
    assert bodies == [record.data for record in records]
    assert snapshot.manifest.bucket_sizes == tuple(len(b) for b in snapshot.bodies)


def test_buckets_hold_at_least_thirty_two() -> None:
    for records in (1, 31, 32, 63, 64, 65, 1000, 200_000):
        filled = [0] * bucket_count(records)
        for position in range(records):
            filled[bucket_at(position, records)] += 1
        assert min(filled) >= min(records, 32)


def test_a_row_stays_under_its_limit_and_says_what_it_left_out() -> None:
    record = open_record(
        make.signed_listing(
            title="ü" * 40,
            topics=tuple(f"{i}" * 32 for i in range(8)),
            slots=tuple(Slot(i % 7, 600 + i, 60) for i in range(14)),
        )
    )
    row = summarise(record)
    assert len(row) <= limits.SUMMARY_ROW_MAX
    fields = decode(row)
    assert isinstance(fields, dict)
    assert fields["cut"]
    plain = decode(summarise(open_record(make.signed_listing())))
    assert isinstance(plain, dict)
    assert not plain["cut"]
    assert plain["title"] == "Quiet mornings"


def test_an_index_out_of_order_or_cut_short_is_refused() -> None:
    rows = rows_of(many(3))
    index = build_snapshot(rows, b"", make.NOW, NODE_KEY).index
    backwards = build_snapshot(rows[::-1], b"", make.NOW, NODE_KEY).index
    for broken in (backwards, index[:-1], index + index):
        with pytest.raises(RemoteError):
            read_index(broken)


def test_a_standing_sheet_is_the_nodes_word_at_a_block() -> None:
    sheet = sign_standing(make.head(), [make.standing("ana"), make.standing("ben")], make.key("node"))
    read = read_standing(sheet, make.key("node").public)
    assert read is not None
    assert read.head() == make.head()
    assert read.of(make.wallet_of("ana")) == make.standing("ana")
    assert read.of(make.wallet_of("eve")) is None
    assert read_standing(b"", make.key("node").public) is None


def test_a_sheet_leaves_out_what_a_suspended_issuer_said() -> None:
    head, standing = make.head(), make.standing("ana")
    (said,) = standing.credentials
    for from_s, listed in ((head.time_s + 1, False), (head.time_s, True)):
        resting = replace(standing, credentials=(replace(said, from_s=from_s),))
        sheet = read_standing(sign_standing(head, [resting], make.key("node")), make.key("node").public)
        assert sheet is not None
        assert bool(sheet.wallets[standing.wallet].credentials) is listed


def test_a_standing_sheet_tells_what_feedback_is() -> None:
    roots = tuple(KeyRoot(bytes([number]) * 20, 7, 3, bytes([number]) * 32) for number in range(1, 4))
    conduct = Conduct(b"\x09" * 20, 1_700_000_000, 604_800, (b"\x01" * 20, b"\x02" * 20), 2, roots)
    for given in (conduct, replace(conduct, roots=()), replace(conduct, collectors=(), threshold=0)):
        data = sign_standing(make.head(), [make.standing("ana")], make.key("node"), given)
        sheet = read_standing(data, make.key("node").public)
        assert sheet is not None
        assert sheet.conduct == given
        assert sorted(sheet.wallets) == [make.wallet_of("ana")]
    assert conduct.key_root(b"\x02" * 20, 7) == b"\x02" * 32
    assert conduct.key_root(b"\x02" * 20, 8) is None


def test_a_standing_sheet_cannot_be_edited_or_borrowed() -> None:
    one = sign_standing(make.head(), [make.standing("ana")], make.key("node"))
    two = sign_standing(make.head(), [make.standing("ana"), make.standing("ben")], make.key("node"))
    with pytest.raises(BadSignatureError):
        read_standing(one, make.key("other").public)
    with pytest.raises(RemoteError):
        read_standing(one + two[len(one) :], make.key("node").public)
    for index in range(0, len(one), 5):
        bent = bytearray(one)
        bent[index] ^= 1
        with pytest.raises(RemoteError):
            read_standing(bytes(bent), make.key("node").public)
