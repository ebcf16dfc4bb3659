"""What can go wrong between a node and a chain, each with the next step for the person who reads it."""

from __future__ import annotations

from warmline_protocol.errors import ConfigError, LocalError, RemoteError, UnreachableError


class RpcError(RemoteError):
    """The endpoint answered with a JSON-RPC error. `data` is the revert data as hex, where there was any."""

    default_hint = "The chain endpoint refused; check that it serves this chain, or configure another one."

    def __init__(self, code: int, message: str, *, data: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.data = data


class RpcGarbageError(RemoteError):
    """What answered does not speak JSON-RPC."""

    default_hint = "Check the URL: something answers there, but it is not an Ethereum JSON-RPC endpoint."


class ChainUnreachableError(UnreachableError):
    """Nothing answers at the endpoint, or not in time."""

    default_hint = (
        "Check that the chain endpoint is running and the URL is right (`warmline chain dev` starts a local one). "
        "A node keeps working meanwhile and shows records as unverified."
    )


class WrongChainError(ConfigError):
    """The endpoint serves another chain, or the contracts are not there."""

    default_hint = "Use the manifest that belongs to this chain; a new dev chain writes a new one."


class ManifestError(ConfigError):
    """The manifest file cannot be used."""

    default_hint = (
        "The dev chain writes one (manifest.json in its data directory); for a live chain, ask its community."
    )


class RevertError(LocalError):
    """A contract refused a call. `name` is the contract's own error name, or None if it gave none."""

    default_hint = "Nothing was sent and nothing was paid."

    def __init__(self, name: str | None, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.name = name


class TakenError(LocalError):
    """Another transaction of the same wallet was mined under the number of ours, which can never be mined now."""

    default_hint = "This one did not happen. If the other one is not yours, somebody has your wallet's key: move on."


class FundsError(LocalError):
    """The wallet cannot pay for this."""

    default_hint = "Send coin to the wallet; on the dev chain use --dev-account or `warmline chain fund`."


class JournalError(LocalError):
    """The dev chain's journal does not replay."""

    default_hint = "Start with another --data directory; the old one is left as it is."
