"""Reports out of real conversations: rooms and conversations of two, and what must not be in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from support import records as make
from support.conversations import PATIENCE, Supporter, a_street, a_supporter, until
from warmline.client.room_joined import join_room
from warmline.client.rooms import host_room
from warmline.client.session import Contact, Persona, open_session
from warmline.client.session_report import report_of
from warmline_protocol.errors import UsageError
from warmline_protocol.records.envelope import sign_record
from warmline_protocol.session.events import TextReceived
from warmline_protocol.session.evidence_bundle import verify_bundle

RIVER, MOSS = Persona("River", b"r" * 16), Persona("Moss", b"m" * 16)


def with_card(ada: Supporter) -> Contact:
    """Ada's contact as a directory gives it: with the card that her key signed."""
    return replace(ada.contact, record=sign_record(make.card(ada.key.public), ada.key))


async def test_a_room_is_reported_without_its_other_members(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            contact = with_card(ada)
            async with (
                ada.at_the_door() as keeper,
                host_room(ada.client, key=ada.key, me=Persona("Ada", b"a" * 16)) as host,
                join_room(street.client("river"), contact, b"L" * 32, me=RIVER) as river,
            ):
                await host.admit(await keeper.knocks.receive(), keeper)
                await river.wait_established()
                async with join_room(street.client("moss"), contact, b"L" * 32, me=MOSS) as moss:
                    await host.admit(await keeper.knocks.receive(), keeper)
                    await moss.wait_established()
                    await moss.send("what Moss said")
                    await until(river, TextReceived)
                    await host.send("you are all worthless")
                    assert (await until(river, TextReceived)).signed
                    data = report_of(contact.record, river.evidence, river.transcript.lines)
                    finding = verify_bundle(data)
                    assert [each.text for each in finding.texts] == ["you are all worthless"]
                    for private in (b"Moss", b"River", b"what Moss said"):
                        assert private not in data


async def test_what_cannot_be_proven_is_said(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            contact = with_card(ada)
            async with ada.at_the_door() as keeper, open_session(street.client("r"), contact, me=RIVER) as river:
                supporter = await keeper.accept(await keeper.knocks.receive())
                await river.wait_established()
                await river.send("only I spoke")
                await until(supporter, TextReceived)
                with pytest.raises(UsageError, match="no signed message"):
                    report_of(contact.record, river.evidence, river.transcript.lines)
                await supporter.send("one")
                await until(river, TextReceived)
                lines = river.transcript.lines
                with pytest.raises(UsageError, match="card"):
                    report_of(b"", river.evidence, lines)
                with pytest.raises(UsageError, match="not one of yours"):
                    report_of(contact.record, river.evidence, lines, include=[2])
                with pytest.raises(UsageError, match="not one of theirs"):
                    report_of(contact.record, river.evidence, lines, leave_out=[1])
                with pytest.raises(UsageError, match="no signed message"):
                    report_of(contact.record, river.evidence, lines, leave_out=[2])
                assert supporter.evidence == ()
                made = verify_bundle(report_of(contact.record, river.evidence, lines, include=[1]))
                assert [each.text for each in made.own] == ["only I spoke"]
