"""A contract's refusal in plain words, with what to do about it: one row for every error of ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

from warmline.chain.artefact import artefact
from warmline.chain.contracts import coins, date, shown, type_name_of
from warmline.chain.errors import RevertError, RpcError
from warmline.chain.reports import Phase


def explain_revert(error: RpcError) -> RpcError | RevertError:
    """The contract's own error in plain words where the endpoint passed it on; else the error as it was."""
    try:
        data = bytes.fromhex((error.data or "0x")[2:])
    except ValueError:  # the endpoint's own words instead of hex
        data = b""
    if len(data) < 4:
        if "revert" in error.message.lower():
            return RevertError(None, f"the contract refused: {error.message}")
        return error
    name, arguments = _decode_error(data)
    words = _WORDS.get(name or "")
    if name is None or words is None:
        return RevertError(name, f"the contract refused: {name or '0x' + data[:4].hex()}")
    message, hint = words
    return RevertError(name, message(*arguments), hint=hint)


def _decode_error(data: bytes) -> tuple[str | None, tuple[Any, ...]]:
    found = _errors().get(data[:4])
    if found is None:
        return None, ()
    name, types = found
    try:
        arguments = decode(types, data[4:])
    except (ValueError, DecodingError):
        return None, ()
    return name, tuple(
        shown(bytes.fromhex(one[2:])) if kind == "address" else one for kind, one in zip(types, arguments, strict=True)
    )


_CONTRACTS = (
    "AccessManager",
    "ConductEpochs",
    "CredentialRegistry",
    "DelegateRegistry",
    "ReportPanel",
    "SupporterBond",
    "TimelockController",
)


@cache
def _errors() -> dict[bytes, tuple[str, list[str]]]:
    found = {keccak(b"Error(string)")[:4]: ("Error", ["string"])}
    for contract in _CONTRACTS:
        for entry in artefact(contract).abi:
            if entry["type"] == "error":
                types = [one["type"] for one in entry["inputs"]]
                found[keccak(f"{entry['name']}({','.join(types)})".encode())[:4]] = (entry["name"], types)
    return found


_Words = tuple[Callable[..., str], str]
_NOTHING = "Nothing was sent and nothing was paid."
_PHASES: dict[Phase, str] = {
    Phase.NONE: "unknown",
    Phase.FILED: "filed and not yet admitted",
    Phase.ADMITTED: "admitted",
    Phase.DRAWING: "waiting for its panel",
    Phase.VOTING: "before its panel",
    Phase.RULED: "ruled and can be appealed",
    Phase.CLOSED: "closed",
}
_WORDS: dict[str, _Words] = {
    "Error": (lambda text: f"the contract refused: {text}", _NOTHING),
    "AccessManagedUnauthorized": (
        lambda who: f"{who} is not governance here",
        "Only governance admits issuers; on the dev chain that is dev account 0.",
    ),
    "AlreadyAdmitted": (lambda who: f"the issuer {who} is admitted already", _NOTHING),
    "NotAdmitted": (
        lambda who: f"{who} is not an admitted issuer",
        "Ask governance to admit this issuer; on the dev chain: `warmline issuer register`.",
    ),
    "ZeroAddress": (lambda: "the address must not be zero", _NOTHING),
    "TypeTaken": (
        lambda type_id, steward: f"the type {type_name_of(type_id)} is registered by {steward}",
        "Choose another name, or ask its steward to recognise you.",
    ),
    "UnknownType": (
        lambda type_id: f"nobody has registered the credential type {type_name_of(type_id)}",
        "Register it first: `warmline issuer register --type NAME`.",
    ),
    "Leaving": (
        lambda who, at: f"the issuer {who} is leaving, and issues nothing more; what it issued counts until {date(at)}",
        "Ask another issuer.",
    ),
    "Suspended": (
        lambda who, until: f"the issuer {who} is suspended until {date(until)}",
        "Wait until then, or ask another issuer.",
    ),
    "SuspensionOutOfRange": (
        lambda _until, latest: f"a suspension ends at the latest on {date(latest)}",
        "Choose an earlier end; it can be suspended again.",
    ),
    "IntakeResting": (
        lambda until: f"nothing new is taken in until {date(until)}",
        "A guardian paused bonds and issues; taking out, revoking and giving up work as ever.",
    ),
    "AlreadySuperseded": (
        lambda successor: f"this contract was superseded by {successor}",
        "Use the new one: ask your operator for the new manifest.",
    ),
    "NotRecognised": (
        lambda type_id, who: f"{who} may not issue {type_name_of(type_id)}",
        "Ask the issuer who registered this type to recognise you.",
    ),
    "ExpiryOutOfRange": (
        lambda _until, latest: f"the end date must lie in the future and not after {date(latest)}",
        "Choose an earlier end; credentials are renewed, not given for ever.",
    ),
    "TooManyIssuers": (
        lambda who, type_id: f"{who} holds {type_name_of(type_id)} from as many issuers as there is room for",
        "An issuer who gave it before may renew it.",
    ),
    "NotActive": (
        lambda _issuer, who, type_id: f"{who} holds no active {type_name_of(type_id)} from this issuer",
        "It may have been revoked or renounced before; `warmline supporter credential list` shows it.",
    ),
    "UnknownReason": (lambda _reason: "the contract does not know this reason", _NOTHING),
    "ZeroAmount": (lambda: "the amount must be more than zero", _NOTHING),
    "InsufficientBond": (
        lambda _supporter, _funder, available: f"only {coins(available)} coin can be taken out of this bond",
        "Ask for that much or less.",
    ),
    "BondTooLarge": (lambda who: f"the bond of {who} cannot hold that much", "Put down less."),
    "Locked": (
        lambda who, until: f"a report about {who} is open: nothing can be claimed before {date(until)}",
        "It ends by itself at that time at the latest, and earlier when the report is decided.",
    ),
    "TooEarly": (
        lambda _exit, at: f"this exit can be claimed from {date(at)}",
        "Come back then; nobody can take it meanwhile but a ruling.",
    ),
    "UnknownExit": (lambda _exit: "there is no such exit, or it was claimed already", _NOTHING),
    "ZeroKey": (lambda: "the key must not be zero", _NOTHING),
    "TooFarAhead": (lambda _time, latest: f"the date must not be after {date(latest)}", "Choose an earlier date."),
    "NotLater": (
        lambda _time, recorded: f"everything before {date(recorded)} is revoked already",
        "Choose a later time.",
    ),
    "AlreadyFiled": (lambda _report: "this report was filed before", "Take a new salt of 32 random bytes."),
    "NotNow": (
        lambda _report, phase, deadline: (
            f"not at this step: the report is {_PHASES[Phase(phase)]}{f', until {date(deadline)}' if deadline else ''}"
        ),
        "Look at where the report stands; a step that is over cannot be made up for.",
    ),
    "NoQuota": (
        lambda who: f"{who} is no advocate, or has filed as many reports as an advocate may for now",
        "File with a bond, which comes back unless the report was made in bad faith.",
    ),
    "NotWhatWasFiled": (
        lambda _report: "the respondent, the evidence or the salt is not what this report was filed with",
        "Ask the filer for the three exactly as they were when the report was filed.",
    ),
    "NotNeutral": (
        lambda who: f"{who} is not a panellist who is party to neither side",
        "Another panellist must open this report.",
    ),
    "NotParty": (lambda *parties: f"{parties[-1]} is not a party here", "Only those whom it concerns can do that."),
    "LotNotKnown": (
        lambda block: f"block {block}, which decides the lot, is not known: it is yet to come, or too long ago",
        "Try again a few blocks later; an hour later, choose a block anew.",
    ),
    "TooFewPanellists": (
        lambda neutral, seats: f"only {neutral} neutral panellists can be drawn for {seats} seats",
        "Governance must accredit more; without a panel the report ends in favour of the respondent.",
    ),
    "NotSeated": (lambda _report, who: f"{who} has no seat in this panel", "Only those who were drawn vote."),
    "WrongVote": (
        lambda _report, who: f"this is not a vote that {who} committed to, or it was given before",
        "Show the same ruling and salt that you committed to; a vote counts once.",
    ),
    "Unchanged": (lambda who: f"{who} is already what you ask for", _NOTHING),
    "ZeroValue": (lambda: "no address, report or period may be zero", _NOTHING),
    "TooManyPanellists": (lambda: "as many panellists are accredited as there may be", "Discharge one first."),
    "NothingOwed": (
        lambda who: f"nothing is owed to {who}",
        "A filing bond can be collected when its report is over, unless it was made in bad faith.",
    ),
    "WrongAmount": (
        lambda due, received: f"{coins(due)} coin must be sent along, not {coins(received)}",
        "Send exactly that much.",
    ),
    "WrongCoin": (lambda: "this is not the coin that is put down here", _NOTHING),
}
