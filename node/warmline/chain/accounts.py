"""The dev chain's well-known accounts. Their keys are public: whatever they hold anywhere else can be taken by anyone.

They are the ones that anvil and other development chains use, so that the same commands work there.
"""

from __future__ import annotations

from functools import cache

DEV_MNEMONIC = "test test test test test test test test test test test junk"
DEV_PATH = "m/44'/60'/0'/0"
DEV_ACCOUNTS = 10
GOVERNANCE = 0
"""The account that admits issuers on the dev chain."""
FAUCET = 9
"""The account that `warmline chain fund` pays from."""


@cache
def dev_key(index: int) -> bytes:
    """The 32-byte private key of dev account `index`."""
    from eth_account.hdaccount import HDPath, seed_from_mnemonic  # type: ignore[attr-defined]

    return bytes(HDPath(f"{DEV_PATH}/{index}").derive(seed_from_mnemonic(DEV_MNEMONIC, "")))
