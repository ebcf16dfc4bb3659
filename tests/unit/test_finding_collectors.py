"""Whom a device takes for collectors: those of the list that three operators agree on, whose record holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support import records as make
from warmline.client.matching import Collection, Holding
from warmline_protocol.records.conduct import Conduct
from warmline_protocol.records.envelope import OpenedRecord, open_record
from warmline_protocol.records.standing_sheet import StandingSheet

LENGTH_S = 7 * 86_400
GENESIS_S = make.NOW // 1000 - 4 * LENGTH_S
CONTRACT = b"\xc0" * 20
ANA, BEN = make.wallet_of("ana"), make.wallet_of("ben")
CONDUCT = Conduct(CONTRACT, GENESIS_S, LENGTH_S, (ANA, BEN), 2)


def collection(*records: bytes, told: tuple[Conduct, ...] = (CONDUCT,) * 3) -> Collection:
    opened: tuple[OpenedRecord, ...] = tuple(open_record(data) for data in records)
    made = Collection()
    for number, conduct in enumerate(told):
        sheet = StandingSheet(make.head(), {}, conduct)
        made.add(Holding(f"peer {number}", f"operator {number}", opened, sheet))
    return made


def test_collectors_of_the_list_are_found_in_the_order_of_their_wallets() -> None:
    made = collection(make.signed_collector("ben"), make.signed_collector("ana"), make.signed_collector("eve"))
    found = made.collectors(CONDUCT, make.NOW)
    assert [each.owner for each in found] == sorted((ANA, BEN))


@pytest.mark.parametrize(
    "conduct",
    [
        replace(CONDUCT, collectors=()),
        replace(CONDUCT, contract=b"\x01" * 20),
        replace(CONDUCT, genesis_s=make.NOW // 1000 - 2000 * LENGTH_S),
        replace(CONDUCT, genesis_s=make.NOW // 1000 + 1),
    ],
)
def test_another_contract_list_or_time_has_no_such_collector(conduct: Conduct) -> None:
    assert collection(make.signed_collector("ana")).collectors(conduct, make.NOW) == ()


def test_a_sheet_that_the_wallet_did_not_sign_counts_for_nothing() -> None:
    sheet = make.collector_sheet("ana")
    forged = replace(sheet, signature=sheet.signature[:10] + bytes([sheet.signature[10] ^ 1]) + sheet.signature[11:])
    assert collection(make.signed_collector("ana", sheet=forged)).collectors(CONDUCT, make.NOW) == ()


def test_one_operator_cannot_name_collectors_of_its_own() -> None:
    liar = replace(CONDUCT, collectors=(make.wallet_of("eve"),))
    made = collection(
        make.signed_collector("eve"), make.signed_collector("ana"), told=(CONDUCT, CONDUCT, CONDUCT, liar)
    )
    agreed = made.conduct(make.NOW)
    assert agreed is not None
    assert [each.owner for each in made.collectors(agreed, make.NOW)] == [ANA]
