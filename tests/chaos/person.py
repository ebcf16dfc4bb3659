"""One program of people: ``python person.py CONFIG``. It talks through the product's Python client, as its config says.

``seekers`` hold one side of each pair of their group, ``supporters`` the other side, ``circle`` a room with its host.
Everything asked, told and shown goes to a journal; standard output carries counts, and what others must know to end a
session together: ``{"talk", "who", "number", "left", "done"}``. Where the config says ``kept``, sessions lie in an
encrypted vault, and a program that was killed goes on with them: what it said is in its journal.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import trio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.people import Person, say
from chaos.roles import circle, seekers, supporters

ROLES = {"seekers": seekers, "supporters": supporters, "circle": circle}


async def main(config: dict[str, Any]) -> None:
    person = Person(config)
    with ExitStack() as stack:
        person.open_vault(stack)
        await live(person)


async def live(person: Person) -> None:
    config = person.config
    async with trio.open_nursery() as background:
        background.start_soon(person.listen_to_driver)
        background.start_soon(person.report_forever)
        background.start_soon(person.change_forever)
        background.start_soon(person.journal.sync_forever)
        say({"ready": config["name"]})
        async with trio.open_nursery() as nursery:
            await ROLES[config["role"]](person, nursery)
        person.report()
        say({"finished": config["name"]})
        background.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, json.loads(Path(sys.argv[1]).read_text()))
