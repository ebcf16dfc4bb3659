"""What the chain says of a supporter now, as plain values.

Admission, the snapshot and the client all judge by these types, so they know nothing of blocks, contracts or
endpoints. A node without a chain hands out the same types: its `head()` is None and every record is *unverified*.

Times are in seconds, as on the chain. Wallets and issuers are 20 bytes, type ids and delegated keys 32 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Credential:
    """One issuer's word about one wallet, good from `from_s` until `until_s` (exclusive).

    `from_s` is past unless the issuer is suspended: then it is the end of the suspension.
    """

    type_id: bytes
    issuer: bytes
    until_s: int
    from_s: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """The careful view of one wallet: bad news of the newest block, good news of the last final one.

    `credentials` holds those whose issuer is admitted and that nobody revoked or renounced, sorted by
    (type_id, issuer); one that is expired or rests stays listed, so ask `valid_credentials`.
    `delegates` is (key, until_s), sorted by key. A delegation signed off chain before `revoked_before_s` is void.
    `exiting_wei` is stake queued for exit and not yet claimed; `bond_wei` no longer counts it.
    """

    wallet: bytes
    credentials: tuple[Credential, ...] = ()
    bond_wei: int = 0
    exiting_wei: int = 0
    delegates: tuple[tuple[bytes, int], ...] = ()
    revoked_before_s: int = 0
    suspended_until_s: int = 0

    def valid_credentials(self, at_s: int) -> tuple[Credential, ...]:
        return tuple(c for c in self.credentials if c.from_s <= at_s < c.until_s)

    def holds(self, type_id: bytes, at_s: int) -> bool:
        return any(c.type_id == type_id for c in self.valid_credentials(at_s))

    def delegate_until(self, key: bytes) -> int:
        """Seconds until which the chain lets `key` speak for this wallet; 0 if it does not."""
        return next((until for delegate, until in self.delegates if delegate == key), 0)


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The newest block that standing takes into account; `time_s` is the block's own timestamp."""

    chain_id: int
    number: int
    hash: bytes
    time_s: int


@runtime_checkable
class StandingSource(Protocol):
    """Where standing comes from. Both calls answer from memory and never block."""

    def head(self) -> ChainHead | None:
        """None: no chain is configured, or nothing of it is known yet. Judge its age by `time_s`."""
        ...

    def of(self, wallet: bytes) -> Standing | None:
        """None: the chain holds nothing about this wallet (or there is no chain; then `head()` is None too)."""
        ...
