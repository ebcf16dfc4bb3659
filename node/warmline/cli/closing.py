"""The closing screen: the last moment at which a conversation can be reported or copied, before it is let go."""

from __future__ import annotations

from warmline.cli import words
from warmline.cli.deeds import Deeds, export, report
from warmline.cli.switchboard import Switchboard
from warmline.client.session import Conversation
from warmline_protocol.errors import UsageError, WarmlineError


async def closing_screen(board: Switchboard, talk: Conversation, deeds: Deeds) -> None:
    """Until the person lets it go. Nothing to report or copy means nothing to ask."""
    signed = sum(len(chapter.words) for chapter in talk.evidence)
    if not signed and not talk.transcript.lines:
        return
    board.face.note(words.CLOSING_SCREEN, words.WARM, event="closing", signed=signed, lines=len(talk.transcript.lines))
    board.face.front(None)
    board.face.last_words()
    async for wish in board.face.wishes():
        try:
            match wish.verb:
                case "report":
                    await report(board, talk, wish)
                case "export":
                    await export(board, talk, wish)
                case "lines":
                    deeds.show_lines(talk)
                case "panic":
                    deeds.panic()
                case "done" | "quit" | "leave":
                    return
                case _:
                    raise UsageError("this conversation is over", hint="/report FILE, /export FILE, or Enter.")
        except WarmlineError as error:
            board.complain(error)
