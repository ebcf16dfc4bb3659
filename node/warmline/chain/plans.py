"""warmline's contracts as a plan: what is created, who may do what, and what must be true afterwards.

Two plans come from one list. On a *development* chain the deployer is governance and acts at once, and times are short.
On a *live* chain the deployer ends with no rights at all: every act of governance waits in the open behind a timelock
that the council proposes to, and only two small roles act at once, each able to take away and to add nothing.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from eth_hash.auto import keccak

from warmline.chain.artefact import artefact
from warmline.chain.contracts import address_of
from warmline.chain.deployer import Plan
from warmline.chain.deployment import SENDER, Act, At, Create, Expect, Step, selector
from warmline_protocol.errors import ConfigError

DAY_S = 86_400
ASHES = bytes.fromhex("000000000000000000000000000000000000dead")
"""Where slashed coin is burnt."""
ADMIN = 0
"""AccessManager's own: may give and take every role. The timelock holds it on a live chain."""
GUARDIAN = 1
"""May pause intake (bonded in the contract: a week, 30 days apart) and suspend an issuer for at most 90 days."""
PANEL = 2
"""May veto a conduct epoch while its window is open."""
ROLES: dict[int, tuple[tuple[str, tuple[str, ...]], ...]] = {
    GUARDIAN: (("CredentialRegistry", ("pauseIntake", "suspendIssuer")), ("SupporterBond", ("pauseIntake",))),
    PANEL: (("ConductEpochs", ("veto",)),),
}
"""Which role may call what; whatever is not here and is restricted, only ADMIN may."""


@dataclass(frozen=True, slots=True)
class ReportTimes:
    """The spans of a report's states in seconds, and what filing without an advocate puts down, in wei."""

    admission_s: int = 7 * DAY_S
    response_s: int = 7 * DAY_S
    draw_s: int = 3 * DAY_S
    commit_s: int = 5 * DAY_S
    reveal_s: int = 3 * DAY_S
    appeal_s: int = 7 * DAY_S
    execution_s: int = 7 * DAY_S
    filing_bond: int = 5 * 10**16


@dataclass(frozen=True, slots=True)
class Terms:
    """What a deployment is given. Addresses 20 bytes, times in seconds, amounts in the smallest unit.

    `commons` takes slashed coin (zero burns it), `token` is put down as bond (zero is the native coin).
    """

    council: bytes
    guardian: bytes
    panel: bytes
    collectors: tuple[bytes, ...]
    threshold: int
    timelock_s: int = 14 * DAY_S
    commons: bytes = bytes(20)
    token: bytes = bytes(20)
    quota_unit: int = 10**15
    exit_delay_s: int = 75 * DAY_S
    report: ReportTimes = ReportTimes()
    epoch_s: int = 7 * DAY_S
    window_s: int = 3 * DAY_S


def live_plan(terms: Terms) -> Plan:
    """Governance behind the timelock; the deployer sets the roles and then gives its own up."""
    council = [terms.council]
    steps: list[Step] = [
        Create("TimelockController", (terms.timelock_s, council, council, bytes(20))),
        Create("AccessManager", (SENDER,)),
        *_contracts(terms),
        *_roles(terms),
        Act("AccessManager", "grantRole", (ADMIN, At("TimelockController"), 0)),
        Act("AccessManager", "renounceRole", (ADMIN, SENDER)),
    ]
    expects = [
        *_wiring(terms),
        *_role_table(terms),
        Expect("TimelockController", "getMinDelay", (), terms.timelock_s),
        Expect("TimelockController", "hasRole", (_role("PROPOSER_ROLE"), terms.council), True),
        Expect("TimelockController", "hasRole", (bytes(32), SENDER), False),
        Expect("AccessManager", "hasRole", (ADMIN, At("TimelockController")), (True, 0)),
        Expect("AccessManager", "hasRole", (ADMIN, SENDER), (False, 0)),
    ]
    return Plan(tuple(steps), tuple(expects))


def dev_plan(terms: Terms) -> Plan:
    """The deployer is governance, guardian and panel, at once."""
    steps: list[Step] = [Create("AccessManager", (SENDER,)), *_contracts(terms)]
    expects = [*_wiring(terms), Expect("AccessManager", "hasRole", (ADMIN, SENDER), (True, 0))]
    return Plan(tuple(steps), tuple(expects))


def read_terms(path: Path) -> Terms:
    """Blocking. Raises ConfigError that names what is wrong."""
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    return parse_terms(content, str(path))


def parse_terms(content: Mapping[str, Any], where: str) -> Terms:
    known = {field.name for field in fields(Terms)}
    unknown = sorted(set(content) - known)
    if unknown:
        raise ConfigError(f"{where}: unknown {', '.join(unknown)}", hint=f"Known are {', '.join(sorted(known))}.")
    missing = [name for name in ("council", "guardian", "panel", "collectors", "threshold") if name not in content]
    if missing:
        raise ConfigError(f"{where}: {', '.join(missing)} must be given")
    values: dict[str, Any] = {}
    for name, value in content.items():
        if name in ("council", "guardian", "panel", "commons", "token"):
            values[name] = _address(value, name, where)
        elif name == "report":
            values[name] = _report_times(value, where)
        elif name == "collectors":
            if not isinstance(value, list):
                raise ConfigError(f"{where}: collectors must be a list of addresses")
            values[name] = tuple(sorted({_address(one, name, where) for one in value}))  # the contract wants order
        elif not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{where}: {name} must be a number of at least 1")
        else:
            values[name] = value
    return Terms(**values)


def _report_times(content: Any, where: str) -> ReportTimes:
    known = {field.name for field in fields(ReportTimes)}
    if not isinstance(content, dict) or not set(content) <= known:
        raise ConfigError(f"{where}: report is a table of {', '.join(sorted(known))}")
    if any(not isinstance(value, int) or isinstance(value, bool) or value < 1 for value in content.values()):
        raise ConfigError(f"{where}: every value of report must be a number of at least 1")
    return ReportTimes(**content)


def _address(value: Any, name: str, where: str) -> bytes:
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {name} must be an address in quotes")
    address = address_of(value)
    if not any(address):
        raise ConfigError(f"{where}: {name} must not be zero")
    return address


def _contracts(terms: Terms) -> Sequence[Create]:
    manager = At("AccessManager")
    return (
        Create("CredentialRegistry", (manager,)),
        Create("DelegateRegistry", (manager,)),
        Create(
            "SupporterBond",
            (manager, (terms.token, terms.commons, At("ReportPanel"), terms.exit_delay_s, terms.quota_unit)),
        ),
        Create("ReportPanel", (manager, At("SupporterBond"), dataclasses.astuple(terms.report))),
        Create(
            "ConductEpochs",
            (
                manager,
                At("CredentialRegistry"),
                terms.epoch_s,
                terms.window_s,
                terms.collectors,
                terms.threshold,
            ),
        ),
    )


def _wiring(terms: Terms) -> list[Expect]:
    governed = [one.contract for one in _contracts(terms) if _has(one.contract, "authority")]
    return [
        *(Expect(name, "authority", (), At("AccessManager")) for name in governed),
        Expect("SupporterBond", "EXIT_DELAY", (), terms.exit_delay_s),
        Expect("SupporterBond", "PANEL", (), At("ReportPanel")),
        Expect("SupporterBond", "TOKEN", (), terms.token),
        Expect("SupporterBond", "COMMONS", (), terms.commons if any(terms.commons) else ASHES),
        Expect("ConductEpochs", "REGISTRY", (), At("CredentialRegistry")),
        Expect("ConductEpochs", "EPOCH", (), terms.epoch_s),
        Expect("ConductEpochs", "WINDOW", (), terms.window_s),
        Expect("ConductEpochs", "collectors", (), (terms.collectors, terms.threshold)),
    ]


def _roles(terms: Terms) -> list[Act]:
    acts = []
    for role, holder in _holders(terms):
        for contract, functions in ROLES[role]:
            selectors = [selector(contract, function) for function in functions]
            acts.append(Act("AccessManager", "setTargetFunctionRole", (At(contract), selectors, role)))
        acts.append(Act("AccessManager", "grantRole", (role, holder, 0)))
    return acts


def _role_table(terms: Terms) -> list[Expect]:
    """Every restricted function and the role that may call it: the table, asked of the chain."""
    wanted = {(contract, name): role for role, rows in ROLES.items() for contract, names in rows for name in names}
    table = [
        Expect(
            "AccessManager",
            "getTargetFunctionRole",
            (At(one.contract), selector(one.contract, name)),
            wanted.get((one.contract, name), ADMIN),
        )
        for one in _contracts(terms)
        for name in _writing(one.contract)
    ]
    holders = [Expect("AccessManager", "hasRole", (role, holder), (True, 0)) for role, holder in _holders(terms)]
    return table + holders


def _holders(terms: Terms) -> tuple[tuple[int, bytes], ...]:
    return (GUARDIAN, terms.guardian), (PANEL, terms.panel)


def _writing(contract: str) -> list[str]:
    """Functions that change something; roles can only ever matter for these."""
    abi = artefact(contract).abi
    return sorted(
        one["name"] for one in abi if one["type"] == "function" and one["stateMutability"] not in ("view", "pure")
    )


def _has(contract: str, function: str) -> bool:
    return any(one["type"] == "function" and one["name"] == function for one in artefact(contract).abi)


def _role(name: str) -> bytes:
    return bytes(keccak(name.encode()))
