"""Typed calls of warmline's contracts: what to send, and in plain words what it does.

A `Call` is data; `transactions` prices, signs and sends it. Views go through `Contracts`, which owns an AsyncWeb3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from warmline.chain.artefact import artefact
from warmline.chain.events import LAYOUTS, decode_log, topics
from warmline.chain.manifest import Manifest
from warmline.chain.provider import Rpc, web3_over
from warmline.chain.spans import logs_between
from warmline_protocol.errors import UsageError
from warmline_protocol.records.standing_events import CredentialIssued, Event
from warmline_protocol.records.text import shown_time

if TYPE_CHECKING:
    from web3.contract import AsyncContract

COIN = 10**18
BATCH_MAX = 100
"""Holders of one `issue_batch`, as the contract has it."""

REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "privilegeWithdrawn": 9,
}
"""Reasons of a revocation: the CRLReason names and numbers of RFC 5280, those that make sense for people."""


@dataclass(frozen=True, slots=True)
class Call:
    """`to` 20 bytes, `value` in wei. `says` is what the person signs, in words."""

    contract: str
    function: str
    to: bytes
    data: bytes
    says: str
    value: int = 0


@dataclass(frozen=True, slots=True)
class CredentialState:
    """`state`: 0 none, 1 active, 2 revoked, 3 renounced."""

    until_s: int
    state: int
    version: int


@dataclass(frozen=True, slots=True)
class EpochPost:
    """What collectors sign for one epoch. Roots and hash are 32 bytes."""

    epoch: int
    previous_root: bytes
    root: bytes
    data_hash: bytes
    token_count: int


def type_id_of(name: str) -> bytes:
    """The 32-byte id of a credential type: 0x and 64 hex digits as they are, any other name padded with zeros."""
    if name.startswith("0x"):
        try:
            raw = bytes.fromhex(name[2:])
        except ValueError:
            raw = b""
        if len(raw) != 32:
            raise UsageError(f"the type {name} is not 0x and 64 hex digits")
        return raw
    data = name.encode()
    if not 1 <= len(data) <= 31:
        raise UsageError("a type's name has 1 to 31 bytes", hint="Use a short name such as peer-supporter.")
    return data.ljust(32, b"\0")


def type_name_of(type_id: bytes) -> str:
    """The name that `type_id_of` made the id from; hex if it was not made from a printable one."""
    name = type_id.rstrip(b"\0")
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = ""
    return text if text.isprintable() and text and len(name) <= 31 else "0x" + type_id.hex()


def address_of(text: str) -> bytes:
    """20 bytes of a hex address; one in mixed case must have the right EIP-55 checksum. Raises UsageError."""
    digits = text.removeprefix("0x")
    try:
        address = bytes.fromhex(digits)
    except ValueError:
        address = b""
    if len(address) != 20 or len(digits) != 40 or digits == text:
        raise UsageError(
            f"{text} is not an Ethereum address", hint="An address is 0x and 40 hex digits; copy it whole."
        )
    if digits not in (digits.lower(), digits.upper()) and shown(address) != text:
        raise UsageError(f"{text} has a wrong checksum", hint="A digit was changed on the way; copy it again.")
    return address


def shown(address: bytes) -> str:
    """EIP-55."""
    from eth_utils.address import to_checksum_address

    return str(to_checksum_address(address))


def coins(wei: int) -> str:
    """An amount of the chain's coin for people, exact: 1000000000000000 is 0.001."""
    whole, rest = divmod(wei, COIN)
    digits = f"{rest:018d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def date(seconds: int) -> str:
    return shown_time(seconds * 1000).strftime("%d %B %Y %H:%M UTC")


class Contracts:
    """The contracts of one manifest at one endpoint."""

    def __init__(self, rpc: Rpc, manifest: Manifest) -> None:
        self.manifest = manifest
        self.rpc = rpc
        self._web3 = web3_over(rpc)
        self._made: dict[str, AsyncContract] = {}

    # -- CredentialRegistry

    def admit_issuer(self, issuer: bytes, metadata_hash: bytes) -> Call:
        says = f"admit {shown(issuer)} as an issuer of credentials"
        return self._call("CredentialRegistry", "admitIssuer", says, issuer, metadata_hash)

    def remove_issuer(self, issuer: bytes) -> Call:
        says = f"remove the issuer {shown(issuer)}; everything it issued stops being valid"
        return self._call("CredentialRegistry", "removeIssuer", says, issuer)

    def sunset_issuer(self, issuer: bytes) -> Call:
        says = f"let the issuer {shown(issuer)} go in peace; what it issued stays valid for 30 days"
        return self._call("CredentialRegistry", "sunsetIssuer", says, issuer)

    def resign(self) -> Call:
        says = "stop being an issuer; what you issued stays valid for 30 days"
        return self._call("CredentialRegistry", "resign", says)

    def suspend_issuer(self, issuer: bytes, until_s: int) -> Call:
        """An `until_s` that is over lifts a suspension."""
        says = f"suspend the issuer {shown(issuer)} and all that it issued until {date(until_s)}"
        return self._call("CredentialRegistry", "suspendIssuer", says, issuer, until_s)

    def pause_issuing(self, until_s: int) -> Call:
        says = f"stop all issuing of credentials until {date(until_s)}; revoking and giving up stay possible"
        return self._call("CredentialRegistry", "pauseIntake", says, until_s)

    def register_type(self, type_id: bytes, document_hash: bytes) -> Call:
        says = f"register the credential type {type_name_of(type_id)} in your name"
        return self._call("CredentialRegistry", "registerType", says, type_id, document_hash)

    def issue(self, holder: bytes, type_id: bytes, until_s: int) -> Call:
        says = f"say publicly that {shown(holder)} holds your credential {type_name_of(type_id)} until {date(until_s)}"
        return self._call("CredentialRegistry", "issue", says, holder, type_id, until_s)

    def issue_batch(self, holders: Sequence[bytes], type_id: bytes, until_s: int) -> Call:
        """All of them or none; at most `BATCH_MAX`."""
        says = (
            f"say publicly that {len(holders)} people, {shown(holders[0])} first, hold your credential "
            f"{type_name_of(type_id)} until {date(until_s)}"
        )
        return self._call("CredentialRegistry", "issueBatch", says, list(map(shown, holders)), type_id, until_s)

    def recognise(self, type_id: bytes, issuer: bytes) -> Call:
        says = f"let {shown(issuer)} give your credential {type_name_of(type_id)} too, in its own name"
        return self._call("CredentialRegistry", "recognise", says, type_id, issuer)

    def withdraw_recognition(self, type_id: bytes, issuer: bytes) -> Call:
        says = f"let {shown(issuer)} give {type_name_of(type_id)} no more; what it gave of it stops being valid"
        return self._call("CredentialRegistry", "withdrawRecognition", says, type_id, issuer)

    def revoke(self, holder: bytes, type_id: bytes, reason: str) -> Call:
        says = f"revoke the credential {type_name_of(type_id)} of {shown(holder)}, publicly, reason: {reason}"
        return self._call("CredentialRegistry", "revoke", says, holder, type_id, REASONS[reason])

    def renounce(self, issuer: bytes, type_id: bytes) -> Call:
        says = f"give up your credential {type_name_of(type_id)} from {shown(issuer)}"
        return self._call("CredentialRegistry", "renounce", says, issuer, type_id)

    async def is_valid(self, holder: bytes, type_id: bytes) -> bool:
        return bool(await self._view("CredentialRegistry", "isValid", holder, type_id))

    async def credential_of(self, issuer: bytes, holder: bytes, type_id: bytes) -> CredentialState:
        return CredentialState(*await self._view("CredentialRegistry", "credentialOf", issuer, holder, type_id))

    async def is_valid_from(self, issuer: bytes, holder: bytes, type_id: bytes) -> bool:
        return bool(await self._view("CredentialRegistry", "isValidFrom", issuer, holder, type_id))

    async def credentials_of(self, issuer: bytes, holders: Sequence[bytes], type_id: bytes) -> list[CredentialState]:
        """As `credential_of`, for many in few requests."""
        contract = self._contract("CredentialRegistry")
        to = "0x" + self.manifest.address("CredentialRegistry").hex()
        data = [contract.encode_abi("credentialOf", [shown(issuer), shown(one), type_id]) for one in holders]
        answers = await self.rpc.batch([("eth_call", [{"to": to, "data": each}, "latest"]) for each in data])
        words = [bytes.fromhex(answer[2:]) for answer in answers]
        return [CredentialState(*(int.from_bytes(each[at : at + 32]) for at in (0, 32, 64))) for each in words]

    async def holders_of(self, issuer: bytes, type_id: bytes) -> list[bytes]:
        """Everybody to whom `issuer` ever gave this type, by address; whether it is still valid is another question."""
        layout = next(one for one in LAYOUTS if one.signature.startswith("CredentialIssued("))
        wanted = {
            "address": "0x" + self.manifest.address("CredentialRegistry").hex(),
            "topics": ["0x" + layout.topic.hex(), None, "0x" + type_id.hex(), "0x" + issuer.hex().rjust(64, "0")],
        }
        events = await self._events(wanted)
        return sorted({event.holder for event in events if isinstance(event, CredentialIssued)})

    async def is_recognised(self, type_id: bytes, issuer: bytes) -> bool:
        return bool(await self._view("CredentialRegistry", "isRecognised", type_id, issuer))

    async def issuer_admitted(self, issuer: bytes) -> bool:
        return bool((await self._view("CredentialRegistry", "issuerOf", issuer))[0])

    async def issuer_dates(self, issuer: bytes) -> tuple[int, int]:
        """When it stops being an issuer, and until when it is suspended (seconds); zeros if never."""
        sunset_at_s, suspended_until_s = await self._view("CredentialRegistry", "issuerDates", issuer)
        return int(sunset_at_s), int(suspended_until_s)

    async def steward_of(self, type_id: bytes) -> bytes | None:
        """The issuer who registered the type; None if nobody did."""
        steward = address_of((await self._view("CredentialRegistry", "typeOf", type_id))[0])
        return steward if any(steward) else None

    # -- DelegateRegistry

    def set_delegate(self, key: bytes, until_s: int) -> Call:
        says = f"let the device key {key.hex()[:16]}… speak for your wallet until {date(until_s)}"
        return self._call("DelegateRegistry", "setDelegate", says, key, until_s)

    def revoke_before(self, time_s: int) -> Call:
        says = f"end every delegation that began before {date(time_s)}, and every device key set until now"
        return self._call("DelegateRegistry", "revokeBefore", says, time_s)

    async def delegate_until(self, wallet: bytes, key: bytes) -> int:
        return int(await self._view("DelegateRegistry", "delegateUntil", wallet, key))

    async def revoked_before(self, wallet: bytes) -> int:
        return int(await self._view("DelegateRegistry", "revokedBefore", wallet))

    # -- SupporterBond

    def bond(self, amount: int) -> Call:
        says = f"put {coins(amount)} coin down as your bond; you get it back some time after you queue an exit"
        return self._call("SupporterBond", "bond", says, value=amount)

    def bond_for(self, supporter: bytes, amount: int) -> Call:
        says = f"put {coins(amount)} coin down as a bond for {shown(supporter)}; on exit it comes back to you"
        return self._call("SupporterBond", "bondFor", says, supporter, value=amount)

    def queue_exit(self, amount: int) -> Call:
        says = f"take {coins(amount)} coin out of your bond; it stays liable until you can claim it"
        return self._call("SupporterBond", "queueExit", says, amount)

    def claim(self, exit_id: int) -> Call:
        return self._call("SupporterBond", "claim", f"claim exit {exit_id} of the bond", exit_id)

    async def bond_of(self, supporter: bytes) -> int:
        return int(await self._view("SupporterBond", "bondOf", supporter))

    async def exiting_of(self, supporter: bytes) -> int:
        return int(await self._view("SupporterBond", "exitingOf", supporter))

    # -- ConductEpochs

    def grant_vouchers(self, epoch: int, count: int, key_root: bytes) -> Call:
        says = f"grant {count} vouchers for the feedback of epoch {epoch}"
        return self._call("ConductEpochs", "grantVouchers", says, epoch, count, key_root)

    def post_epoch(self, conduct: EpochPost, signed: Mapping[bytes, bytes]) -> Call:
        """`signed`: each collector's signature of `conduct_document`."""
        says = f"post the feedback of epoch {conduct.epoch}, signed by {len(signed)} collectors"
        signers = sorted(signed)
        return self._call(
            "ConductEpochs",
            "post",
            says,
            conduct.epoch,
            conduct.root,
            conduct.data_hash,
            conduct.token_count,
            [shown(one) for one in signers],
            [signed[one] for one in signers],
        )

    def veto_epoch(self, epoch: int, root: bytes) -> Call:
        says = f"veto what was posted for epoch {epoch}; the root before it stands"
        return self._call("ConductEpochs", "veto", says, epoch, root)

    def conduct_document(self, conduct: EpochPost) -> dict[str, Any]:
        """The EIP-712 document that collectors sign (`Wallet.sign_typed`)."""
        fields = {
            "epoch": "uint64",
            "previousRoot": "bytes32",
            "root": "bytes32",
            "dataHash": "bytes32",
            "tokenCount": "uint64",
        }
        domain = {"name": "string", "version": "string", "chainId": "uint256", "verifyingContract": "address"}
        return {
            "types": {
                "EIP712Domain": [{"name": name, "type": kind} for name, kind in domain.items()],
                "Epoch": [{"name": name, "type": kind} for name, kind in fields.items()],
            },
            "primaryType": "Epoch",
            "domain": {
                "name": "warmline ConductEpochs",
                "version": "1",
                "chainId": self.manifest.chain_id,
                "verifyingContract": shown(self.manifest.address("ConductEpochs")),
            },
            "message": {
                "epoch": conduct.epoch,
                "previousRoot": conduct.previous_root,
                "root": conduct.root,
                "dataHash": conduct.data_hash,
                "tokenCount": conduct.token_count,
            },
        }

    async def epoch_terms(self) -> tuple[int, int]:
        """When the first epoch began and how long each lasts, in seconds."""
        genesis, length = [int(await self._view("ConductEpochs", name)) for name in ("GENESIS", "EPOCH")]
        return genesis, length

    async def standing_epoch(self) -> tuple[int, bytes]:
        """The epoch whose root stands now, and the root; zeros before the first."""
        epoch, root = await self._view("ConductEpochs", "standing")
        return int(epoch), bytes(root)

    # -- all of them

    def supersede(self, contract: str, successor: bytes) -> Call:
        """A `successor` of zeros withdraws the announcement."""
        says = f"announce {shown(successor)} as the successor of {contract}, in force in 30 days"
        if not any(successor):
            says = f"withdraw the announcement of a successor of {contract}"
        return self._call(contract, "supersede", says, successor)

    async def superseded_by(self, contract: str) -> tuple[bytes, int] | None:
        """The announced successor and the second from which it takes over; None if there is none."""
        successor, since_s = await self._view(contract, "supersededBy")
        return (address_of(successor), int(since_s)) if since_s else None

    async def events_of(self, contract: str, subject: bytes) -> list[Event]:
        """The events of `contract` whose first indexed field is `subject`, oldest first."""
        wanted = {
            "address": "0x" + self.manifest.address(contract).hex(),
            "topics": [topics(), "0x" + subject.hex().rjust(64, "0")],
        }
        return await self._events(wanted)

    async def height(self) -> int:
        """The newest block's number."""
        return int(await self.rpc.call("eth_blockNumber"), 16)

    async def time_s(self) -> int:
        """The newest block's time, by which contracts judge."""
        return int((await self.rpc.call("eth_getBlockByNumber", "latest", False))["timestamp"], 16)

    async def _events(self, wanted: Mapping[str, Any]) -> list[Event]:
        logs = await logs_between(self.rpc, wanted, self.manifest.start_block, await self.height())
        events = (decode_log(log, self.manifest.names()) for log in logs)
        return [event for event in events if event is not None]

    def _contract(self, name: str) -> AsyncContract:
        if name not in self._made:
            address = shown(self.manifest.address(name))
            self._made[name] = self._web3.eth.contract(address=address, abi=artefact(name).abi)  # type: ignore[call-overload]
        return self._made[name]

    def _call(self, contract: str, function: str, says: str, *arguments: Any, value: int = 0) -> Call:
        data = self._contract(contract).encode_abi(function, [_argument(one) for one in arguments])
        return Call(contract, function, self.manifest.address(contract), bytes.fromhex(data[2:]), says, value)

    async def _view(self, contract: str, function: str, *arguments: Any) -> Any:
        bound = self._contract(contract).functions[function](*(_argument(one) for one in arguments))
        return await bound.call()


def _argument(value: Any) -> Any:
    return shown(value) if isinstance(value, bytes) and len(value) == 20 else value
