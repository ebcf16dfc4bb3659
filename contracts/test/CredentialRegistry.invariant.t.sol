// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { CredentialRegistry } from "../src/CredentialRegistry.sol";
import { ICredentialRegistry } from "../src/interfaces/ICredentialRegistry.sol";
import { IIntake } from "../src/interfaces/IIntake.sol";
import { Test } from "./support/Test.sol";
import { Vm } from "./support/Vm.sol";
import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";

/// @notice Ten issuers, three holders and two types under all acts in any order. It keeps the plainest possible
/// model, without caps or packing, from the contract's events alone.
contract RegistryActors is Test {
    struct Known {
        uint64 until;
        bool active;
    }

    CredentialRegistry public immutable REGISTRY;
    uint256 public constant ISSUERS = 10;
    uint256 public constant HOLDERS = 3;
    uint256 public constant TYPES = 2;

    mapping(address issuer => bool) public admitted;
    mapping(address issuer => uint64) public sunsetAt;
    mapping(address issuer => uint64) public suspendedUntil;
    mapping(bytes32 typeId => address) public steward;
    mapping(bytes32 typeId => mapping(address issuer => bool)) public recognised;
    mapping(address issuer => mapping(address holder => mapping(bytes32 typeId => Known))) public known;

    constructor() {
        REGISTRY = new CredentialRegistry(address(new AccessManager(address(this))));
        for (uint256 i; i < ISSUERS; ++i) {
            _act(address(this), abi.encodeCall(REGISTRY.admitIssuer, (issuerAt(i), 0)));
        }
        for (uint256 t; t < TYPES; ++t) {
            _act(issuerAt(t), abi.encodeCall(REGISTRY.registerType, (typeAt(t), 0)));
        }
    }

    function issuerAt(uint256 seed) public pure returns (address) {
        return person(1 + (seed % ISSUERS));
    }

    function holderAt(uint256 seed) public pure returns (address) {
        return person(100 + (seed % HOLDERS));
    }

    function typeAt(uint256 seed) public pure returns (bytes32) {
        return bytes32(1 + (seed % TYPES));
    }

    function admitIssuer(uint256 i) external {
        _act(address(this), abi.encodeCall(REGISTRY.admitIssuer, (issuerAt(i), 0)));
    }

    function removeIssuer(uint256 i) external {
        if (i % 4 == 0) _act(address(this), abi.encodeCall(REGISTRY.removeIssuer, (issuerAt(i))));
    }

    function sunsetIssuer(uint256 i, bool byItself) external {
        if (i % 4 != 0) return;
        if (byItself) _act(issuerAt(i), abi.encodeCall(REGISTRY.resign, ()));
        else _act(address(this), abi.encodeCall(REGISTRY.sunsetIssuer, (issuerAt(i))));
    }

    function suspendIssuer(uint256 i, uint32 time) external {
        _act(address(this), abi.encodeCall(REGISTRY.suspendIssuer, (issuerAt(i), now64() + time % 100 days)));
    }

    function pauseIntake(uint256 rare, uint32 time) external {
        if (rare % 4 == 0) {
            _act(address(this), abi.encodeCall(REGISTRY.pauseIntake, (now64() + time % 8 days)));
        }
    }

    function registerType(uint256 i, uint256 t) external {
        _act(issuerAt(i), abi.encodeCall(REGISTRY.registerType, (typeAt(t), 0)));
    }

    function recognise(uint256 by, uint256 i, uint256 t) external {
        address caller = by % 8 == 0 ? issuerAt(by) : steward[typeAt(t)];
        _act(caller, abi.encodeCall(REGISTRY.recognise, (typeAt(t), issuerAt(i))));
    }

    function withdrawRecognition(uint256 by, uint256 i, uint256 t) external {
        address caller = by % 8 == 0 ? issuerAt(by) : steward[typeAt(t)];
        _act(caller, abi.encodeCall(REGISTRY.withdrawRecognition, (typeAt(t), issuerAt(i))));
    }

    function issue(uint256 i, uint256 h, uint256 t, uint32 time) external {
        _act(issuerAt(i), abi.encodeCall(REGISTRY.issue, (holderAt(h), typeAt(t), now64() + time % 90 days)));
    }

    function issueBatch(uint256 i, uint256 t, uint32 time) external {
        address[] memory holders = new address[](HOLDERS);
        for (uint256 h; h < HOLDERS; ++h) {
            holders[h] = holderAt(h);
        }
        _act(issuerAt(i), abi.encodeCall(REGISTRY.issueBatch, (holders, typeAt(t), now64() + time % 90 days)));
    }

    function revoke(uint256 i, uint256 h, uint256 t, uint8 reason) external {
        _act(issuerAt(i), abi.encodeCall(REGISTRY.revoke, (holderAt(h), typeAt(t), reason % 16)));
    }

    function renounce(uint256 i, uint256 h, uint256 t) external {
        _act(holderAt(h), abi.encodeCall(REGISTRY.renounce, (issuerAt(i), typeAt(t))));
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + bound(time, 1, 20 days));
    }

    function expectedFrom(address issuer, address holder, bytes32 typeId) public view returns (bool) {
        Known memory it = known[issuer][holder][typeId];
        return stands(steward[typeId]) && stands(issuer) && it.active && block.timestamp < it.until
            && block.timestamp >= suspendedUntil[issuer]
            && (issuer == steward[typeId] || recognised[typeId][issuer]);
    }

    function stands(address issuer) public view returns (bool) {
        return admitted[issuer] && (sunsetAt[issuer] == 0 || block.timestamp < sunsetAt[issuer]);
    }

    function expected(address holder, bytes32 typeId) external view returns (bool) {
        for (uint256 i; i < ISSUERS; ++i) {
            if (expectedFrom(issuerAt(i), holder, typeId)) return true;
        }
        return false;
    }

    function _act(address who, bytes memory call) private {
        vm.recordLogs();
        if (who != address(this)) vm.prank(who);
        (bool accepted,) = address(REGISTRY).call(call);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        if (!accepted) return; // forge also hands out the logs of refused calls
        vm.assertTrue(logs.length > 0, "an event for each accepted act");
        for (uint256 i; i < logs.length; ++i) {
            _fold(logs[i]);
        }
    }

    function _fold(Vm.Log memory log) private {
        bytes32 kind = log.topics[0];
        if (kind == ICredentialRegistry.IssuerAdmitted.selector) {
            address issuer = _address(log.topics[1]);
            _forget(issuer); // also what a sunset ended
            (admitted[issuer], sunsetAt[issuer], suspendedUntil[issuer]) = (true, 0, 0);
        } else if (kind == ICredentialRegistry.IssuerSunset.selector) {
            sunsetAt[_address(log.topics[1])] = abi.decode(log.data, (uint64));
        } else if (kind == ICredentialRegistry.IssuerSuspended.selector) {
            suspendedUntil[_address(log.topics[1])] = abi.decode(log.data, (uint64));
        } else if (kind == IIntake.IntakePaused.selector) {
            return;
        } else if (kind == ICredentialRegistry.IssuerRemoved.selector) {
            _forget(_address(log.topics[1]));
        } else if (kind == ICredentialRegistry.TypeRegistered.selector) {
            steward[log.topics[2]] = _address(log.topics[1]);
        } else if (kind == ICredentialRegistry.IssuerRecognised.selector) {
            recognised[log.topics[1]][_address(log.topics[2])] = true;
        } else if (kind == ICredentialRegistry.RecognitionWithdrawn.selector) {
            recognised[log.topics[1]][_address(log.topics[2])] = false;
        } else {
            Known storage it = known[_address(log.topics[3])][_address(log.topics[1])][log.topics[2]];
            it.active = kind == ICredentialRegistry.CredentialIssued.selector;
            if (it.active) it.until = abi.decode(log.data, (uint64));
        }
    }

    function _forget(address issuer) private {
        admitted[issuer] = false;
        for (uint256 h; h < HOLDERS; ++h) {
            for (uint256 t; t < TYPES; ++t) {
                known[issuer][holderAt(h)][typeAt(t)].active = false;
            }
        }
    }

    function _address(bytes32 topic) private pure returns (address) {
        return address(uint160(uint256(topic)));
    }
}

contract CredentialRegistryInvariantTest is Test {
    RegistryActors private actors;
    CredentialRegistry private registry;

    function setUp() public {
        vm.warp(1_800_000_000);
        actors = new RegistryActors();
        registry = actors.REGISTRY();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(actors);
    }

    /// @notice isValid is exactly "at least one credential counts", as a reader of the events would say it.
    function invariant_isValidIsExact() public view {
        for (uint256 h; h < actors.HOLDERS(); ++h) {
            for (uint256 t; t < actors.TYPES(); ++t) {
                (address holder, bytes32 typeId) = (actors.holderAt(h), actors.typeAt(t));
                vm.assertTrue(
                    registry.isValid(holder, typeId) == actors.expected(holder, typeId), "isValid is exact"
                );
            }
        }
    }

    /// @notice The same for each issuer, and no entry beyond the cap or twice for one issuer.
    function invariant_entriesAreSound() public view {
        for (uint256 h; h < actors.HOLDERS(); ++h) {
            for (uint256 t; t < actors.TYPES(); ++t) {
                (address holder, bytes32 typeId) = (actors.holderAt(h), actors.typeAt(t));
                address[] memory issuers = registry.issuersOf(holder, typeId);
                vm.assertTrue(issuers.length <= registry.MAX_ISSUERS(), "at most eight issuers");
                for (uint256 i; i < issuers.length; ++i) {
                    for (uint256 j; j < i; ++j) {
                        vm.assertTrue(issuers[i] != issuers[j], "each issuer once");
                    }
                }
                for (uint256 i; i < actors.ISSUERS(); ++i) {
                    address issuer = actors.issuerAt(i);
                    (bool admitted,) = registry.issuerOf(issuer);
                    vm.assertTrue(admitted == actors.stands(issuer), "issuerOf follows from events");
                    vm.assertTrue(
                        registry.isValidFrom(issuer, holder, typeId)
                            == actors.expectedFrom(issuer, holder, typeId),
                        "isValidFrom follows from events"
                    );
                }
            }
        }
    }
}
