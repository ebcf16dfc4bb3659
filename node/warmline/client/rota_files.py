"""The desks that a coordinator has published, kept beside the identity so that they can be signed anew."""

from __future__ import annotations

from pathlib import Path

from warmline.client.identity import Identity
from warmline.env import Clock
from warmline.files import write_private
from warmline_protocol.errors import ConfigError
from warmline_protocol.records.desk import Desk
from warmline_protocol.records.desk_file import DeskDraft, read_desk_file
from warmline_protocol.records.envelope import DESK, record_id, sign_record

FOLDER = "desks"


class RotaFiles:
    """One file for each desk in the supporter's directory. All methods block."""

    def __init__(self, folder: Path, identity: Identity, clock: Clock) -> None:
        self._folder = folder / FOLDER
        self._identity = identity
        self._clock = clock

    def keep(self, slug: str, text: str) -> None:
        """Remember the file that was just published, in the place of the one before."""
        write_private(self._folder / f"{slug}.toml", text.encode())

    def withdraw(self, slug: str) -> None:
        """Never sign this desk again, until its file is published again."""
        (self._folder / f"{slug}.toml").unlink(missing_ok=True)

    def drafts(self) -> list[DeskDraft]:
        """What is published and not withdrawn."""
        found = []
        for path in sorted(self._folder.glob("*.toml")):
            try:
                found.append(read_desk_file(path.read_text("utf-8")))
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"cannot read {path}: {error}", hint="Publish your desk again.") from None
        return found

    def desks(self) -> dict[bytes, Desk]:
        """The desks by record id, as of now."""
        owner, now = self._identity.owner, self._clock.utc_ms()
        return {record_id(DESK, owner, draft.slug): draft.desk(owner, now) for draft in self.drafts()}

    def records(self) -> list[bytes]:
        """Every desk signed as of now."""
        identity = self._identity
        return [sign_record(body, identity.key, identity.delegation) for body in self.desks().values()]
