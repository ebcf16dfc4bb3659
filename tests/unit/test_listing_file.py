"""Listing files: the example is sound, and every mistake is named with line, field and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import records as make
from warmline_protocol.records.envelope import CARD, open_record, record_id, sign_record
from warmline_protocol.records.listing_file import GROUPS_MAX, ListingFileError, read_listing_file

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "weekly_programme.toml"

GOOD = '''\
[defaults]
zone = "Europe/Lisbon"   # a comment with [brackets] and "quotes"
rules = [
  "What is said here stays here.",
]

[[group]]
id = "quiet-mornings"
title = "Quiet mornings"
summary = """
We sit together.
id = "this is text, not a field"

[[group]]
Nobody has to talk.
"""
topics = ["mornings"]
languages = ["en"]
when = ["mon 07:30 30"]
capacity = 8
facilitated_by = "Ana"

[[group]]
id = "second"
title = "The second"
summary = "Another group of the same house."
topics = ["company"]
languages = ["pt-BR", "en"]
zone = "America/Sao_Paulo"
when = ["tue 20:00 60", "fri 20:00 60"]
capacity = 10
facilitated_by = "Ben"
'''


def test_the_example_is_a_week_that_can_be_published() -> None:
    drafts = read_listing_file(EXAMPLE.read_text("utf-8"))
    assert len(drafts) >= 24
    assert len({language.split("-")[0] for draft in drafts for language in draft.languages}) >= 8
    assert len({draft.zone for draft in drafts}) >= 15
    assert len({topic for draft in drafts for topic in draft.topics}) >= 20
    given = make.delegation()
    for draft in drafts:
        data = sign_record(draft.listing(given.wallet, make.door(), make.NOW), make.key("ana"), given)
        assert open_record(data).kind == "listing"


def test_a_file_is_read_with_its_defaults() -> None:
    first, second = read_listing_file(GOOD)
    assert (first.line, second.line) == (7, 23)
    assert first.zone == "Europe/Lisbon"
    assert second.zone == "America/Sao_Paulo"
    assert first.rules == second.rules == ("What is said here stays here.",)
    assert first.summary == ('We sit together. id = "this is text, not a field"\n[[group]] Nobody has to talk.')


def test_a_successor_is_a_wallets_card() -> None:
    address = "0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF"
    (_, draft) = read_listing_file(GOOD + f'successors = ["{address}"]\n')
    listing = draft.listing(bytes(20), make.door(), make.NOW)
    assert listing.successors == (record_id(CARD, bytes.fromhex(address[2:])),)


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "remedy"),
    [
        ('when = ["mon 07:30 30"]', 'when = ["monday at 7"]', 19, "when", "tue 19:00 60"),
        ('when = ["mon 07:30 30"]', "when = []", 19, "when", "Write more"),
        ('when = ["mon 07:30 30"]', 'when = "mon 07:30 30"', 19, "when", "when = ["),
        ('languages = ["en"]', 'languages = ["English"]', 18, "languages", "pt-BR"),
        ('topics = ["mornings"]', 'topics = ["New Parents"]', 17, "topics", "new-parents"),
        ('zone = "America/Sao_Paulo"', 'zone = "Brazil/Sao_Paolo"', 29, "zone", "Europe/Lisbon"),
        ("capacity = 8", "capacity = 80", 20, "capacity", "2 to 50"),
        ("capacity = 8", "capacity = 1", 20, "capacity", "2 to 50"),
        ("capacity = 8", "capacity = 20", 20, "capacity", "co-facilitator"),
        ("capacity = 8", 'capacity = "eight"', 20, "capacity", "capacity = 12"),
        ("capacity = 8", "capacity = 8\nage = '13+'", 21, "age", "adults"),
        ("capacity = 8", 'capacity = 8\nkind = "one-to-one"', 20, "capacity", "capacity = 2"),
        ("capacity = 8", "capacity = 8\nmin_participants = 9", 21, "min_participants", "capacity"),
        ("capacity = 8", 'capacity = 8\nsuccessors = ["Ana"]', 21, "successors", "0x"),
        (
            "capacity = 8",
            'capacity = 8\nsuccessors = ["0x2B5AD5c4795c026514f8317c7a215E218DcCD6cf"]',
            21,
            "successors",
            "capitals",
        ),
        ("capacity = 8", "capacity = 8\ncloses = '2027-01-01'", 21, "closes", "without quotes"),
        ("capacity = 8", "capacity = 8\nopens = 2027-01-02\ncloses = 2027-01-01", 22, "closes", "after"),
        ("capacity = 8", "capacity = 8\nopens = 2027-01-02\ncloses = 2029-06-01", 22, "closes", "nearer"),
        ('title = "Quiet mornings"\n', "", 7, "title", "title ="),
        ('title = "Quiet mornings"', f'title = "{"x" * 81}"', 9, "title", "Shorten"),
        ('title = "Quiet mornings"', 'title = "Quiet \\u001b[2J"', 9, "title", "without it"),
        ('title = "Quiet mornings"', 'titel = "Quiet mornings"\ntitle = "x y z"', 9, "titel", "title?"),
        ('id = "second"', 'id = "quiet-mornings"', 24, "id", "own id"),
        ('id = "second"', 'id = "The Second"', 24, "id", "lower-case"),
        ("[defaults]", "[default]", 1, "default", "[defaults]"),
        ('facilitated_by = "Ana"', "", 7, "facilitated_by", "facilitated_by ="),
    ],
)
def test_a_mistake_names_its_line_its_field_and_the_remedy(
    old: str, new: str, line: int, field: str, remedy: str
) -> None:
    assert old in GOOD
    with pytest.raises(ListingFileError) as error:
        read_listing_file(GOOD.replace(old, new, 1))
    found = [(problem.line, problem.field) for problem in error.value.problems]
    assert (line, field) in found
    named = next(problem for problem in error.value.problems if (problem.line, problem.field) == (line, field))
    assert remedy in named.remedy
    assert f"line {line}, {field}:" in str(error.value)


def test_all_mistakes_are_told_at_once() -> None:
    text = GOOD.replace("capacity = 8", "capacity = 80").replace('["pt-BR", "en"]', '["Portuguese"]')
    with pytest.raises(ListingFileError) as error:
        read_listing_file(text)
    assert [(problem.line, problem.field) for problem in error.value.problems] == [
        (20, "capacity"),
        (28, "languages"),
    ]


@pytest.mark.parametrize(
    ("text", "line"), [('title = "no end\n', 1), (GOOD + "\n[[group]\n", 34), ("", 1), ("group = 3", 1)]
)
def test_a_file_that_is_no_programme_says_where(text: str, line: int) -> None:
    with pytest.raises(ListingFileError) as error:
        read_listing_file(text)
    assert error.value.problems[0].line == line


def test_a_file_with_too_many_groups_is_refused() -> None:
    group = GOOD[GOOD.rindex("[[group]]") :]
    many = "".join(group.replace('"second"', f'"g-{i}"') for i in range(GROUPS_MAX + 1))
    with pytest.raises(ListingFileError, match="Split"):
        read_listing_file(GOOD + many)
