"""The groups that a supporter has published, kept beside the identity so that duty can sign them anew."""

from __future__ import annotations

from pathlib import Path

from warmline.client.identity import Identity
from warmline.env import Clock
from warmline.files import write_private
from warmline_protocol.errors import ConfigError
from warmline_protocol.records.card import Door
from warmline_protocol.records.envelope import LISTING, record_id, sign_record
from warmline_protocol.records.listing import Listing
from warmline_protocol.records.listing_file import GroupDraft, read_listing_file

FILE = "programme.toml"
WITHDRAWN = "programme.withdrawn"


class Programme:
    """Files in the supporter's directory. All methods block."""

    def __init__(self, folder: Path, identity: Identity, clock: Clock) -> None:
        self._folder = folder
        self._identity = identity
        self._clock = clock

    def keep(self, text: str) -> None:
        """Remember the file that was just published; it replaces the one before."""
        write_private(self._folder / FILE, text.encode())
        write_private(self._folder / WITHDRAWN, b"")

    def withdraw(self, slug: str) -> None:
        """Never sign this group again, until a file that has it is published."""
        write_private(self._folder / WITHDRAWN, "\n".join(sorted({*self._withdrawn(), slug})).encode())

    def drafts(self) -> tuple[GroupDraft, ...]:
        """What is published and not withdrawn; empty before the first file."""
        path = self._folder / FILE
        if not path.exists():
            return ()
        try:
            drafts = read_listing_file(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}", hint="Publish your groups again.") from None
        gone = self._withdrawn()
        return tuple(draft for draft in drafts if draft.slug not in gone)

    def listings(self, door: Door) -> dict[bytes, Listing]:
        """The listings by record id, as people knock for them."""
        owner, now = self._identity.owner, self._clock.utc_ms()
        return {record_id(LISTING, owner, draft.slug): draft.listing(owner, door, now) for draft in self.drafts()}

    def records(self, door: Door) -> list[bytes]:
        """Every listing signed as of now."""
        identity = self._identity
        return [sign_record(body, identity.key, identity.delegation) for body in self.listings(door).values()]

    def _withdrawn(self) -> set[str]:
        path = self._folder / WITHDRAWN
        return set(path.read_text("utf-8").split()) if path.exists() else set()
