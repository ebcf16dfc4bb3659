// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { EAS } from "../eas/EAS.sol";
import {
    AttestationRequest,
    AttestationRequestData,
    MultiAttestationRequest,
    RevocationRequest,
    RevocationRequestData
} from "../eas/IEAS.sol";
import { SchemaRegistry } from "../eas/SchemaRegistry.sol";
import { ISchemaResolver } from "../eas/resolver/ISchemaResolver.sol";
import { ConductEpochs } from "../src/ConductEpochs.sol";
import { CredentialRegistry } from "../src/CredentialRegistry.sol";
import { DelegateRegistry } from "../src/DelegateRegistry.sol";
import { Badge } from "./Badge.sol";
import { Court } from "./support/Court.sol";
import { AccessControl } from "@openzeppelin/contracts/access/AccessControl.sol";
import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { ERC721 } from "@openzeppelin/contracts/token/ERC721/ERC721.sol";

interface Meter {
    function snapshotGasLastCall(string calldata group, string calldata name) external returns (uint256 gas);
}

contract Roles is AccessControl {
    constructor() {
        _grantRole(DEFAULT_ADMIN_ROLE, msg.sender);
    }
}

contract Coins is ERC20("Coin", "C") {
    constructor() {
        _mint(msg.sender, 1e30);
    }
}

contract Collectible is ERC721("Badge", "B") {
    function mint(address to, uint256 id) external {
        _mint(to, id);
    }
}

/// @notice Every row of the table, each a transaction of its own (forge test --isolate).
contract Gas is Court {
    uint256 private constant ISSUER_KEY = 0xA11CE;
    bytes32 private constant TYPE = keccak256("peer supporter, 40 hours");
    bytes32 private constant DATA = keccak256("batch");
    address private issuer;
    address private immutable HOLDER = person(70);
    uint64 private until;
    CredentialRegistry private registry;
    DelegateRegistry private delegates;
    ConductEpochs private conduct;
    EAS private eas;
    bytes32 private schema;
    uint256[] private keys;

    function setUp() public {
        _build(address(0));
        (issuer, until) = (vm.addr(ISSUER_KEY), now64() + 365 days);
        registry = new CredentialRegistry(address(governance));
        delegates = new DelegateRegistry(address(governance));
        registry.admitIssuer(issuer, 0);
        vm.prank(issuer);
        registry.registerType(TYPE, 0);
        SchemaRegistry schemas = new SchemaRegistry();
        eas = new EAS(schemas);
        schema = schemas.register("bytes32 what", ISchemaResolver(address(0)), true);
        address[] memory collectors = new address[](5);
        for (uint256 key = 1; key <= 5; ++key) {
            keys.push(key);
            for (uint256 i = key - 1; i > 0 && vm.addr(keys[i - 1]) > vm.addr(keys[i]); --i) {
                (keys[i - 1], keys[i]) = (keys[i], keys[i - 1]);
            }
        }
        for (uint256 i; i < 5; ++i) {
            collectors[i] = vm.addr(keys[i]);
        }
        conduct = new ConductEpochs(address(governance), address(registry), 7 days, 3 days, collectors, 3);
        vm.deal(HOLDER, 10 ether);
        vm.deal(RESPONDENT, 10 ether);
    }

    function testBond() public {
        vm.prank(HOLDER);
        bond.bond{ value: 1 ether }();
        _note("bond, first");
        vm.prank(HOLDER);
        bond.bond{ value: 1 ether }();
        _note("bond, more");
        vm.prank(HOLDER);
        uint256 exitId = bond.queueExit(1 ether);
        _note("queue an exit");
        vm.warp(now64() + 76 days);
        bond.claim(exitId);
        _note("claim");
    }

    function testBondFor() public {
        vm.prank(RESPONDENT);
        bond.bondFor{ value: 1 ether }(HOLDER);
        _note("bond for another, first");
    }

    function testIssue() public {
        vm.prank(issuer);
        registry.issue(HOLDER, TYPE, until);
        _note("issue");
        vm.prank(issuer);
        registry.issue(HOLDER, TYPE, until + 1);
        _note("renew");
        vm.prank(issuer);
        registry.revoke(HOLDER, TYPE, 9);
        _note("revoke");
    }

    function testIssueBySignature() public {
        bytes32 digest = registry.offerDigest(issuer, HOLDER, TYPE, until, until);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(ISSUER_KEY, digest);
        vm.prank(HOLDER);
        registry.issueBySignature(issuer, HOLDER, TYPE, until, until, abi.encodePacked(r, s, v));
        _note("issue by signature");
    }

    function testIssueBatch() public {
        address[] memory holders = new address[](50);
        for (uint256 i; i < 50; ++i) {
            holders[i] = address(uint160(uint256(keccak256(abi.encode(i)))));
        }
        vm.prank(issuer);
        registry.issueBatch(holders, TYPE, until);
        _note("issue a batch of 50");
    }

    function testDelegate() public {
        vm.prank(HOLDER);
        delegates.setDelegate(keccak256("device"), until);
        _note("set a delegate");
        vm.prank(HOLDER);
        delegates.revokeBefore(now64());
        _note("revoke all delegates");
    }

    function testPost() public {
        vm.prank(issuer);
        conduct.grantVouchers(1, 100, DATA);
        _note("grant vouchers");
        for (uint64 epoch = 2; epoch <= 3; ++epoch) {
            vm.prank(issuer);
            conduct.grantVouchers(epoch, 100, DATA);
        }
        _post(1);
        _note("post an epoch, the first ever");
        _post(2);
        _post(3);
        _note("post an epoch, 3 signatures");
    }

    function testAdmit() public {
        vm.prank(RESPONDENT);
        bond.bond{ value: 1 ether }();
        bytes32 id = _filedBy(ADVOCATE);
        _note("file a report as advocate");
        vm.prank(_panellist(0));
        panel.admit(id, RESPONDENT, EVIDENCE, SALT);
        _note("admit a report");
    }

    function testAttest() public {
        AttestationRequestData memory data =
            AttestationRequestData(HOLDER, until, true, 0, abi.encode(bytes32(uint256(1))), 0);
        bytes32 uid = eas.attest(AttestationRequest(schema, data));
        _note("EAS attest, 32 B");
        eas.revoke(RevocationRequest(schema, RevocationRequestData(uid, 0)));
        _note("EAS revoke");
        AttestationRequestData[] memory many = new AttestationRequestData[](50);
        for (uint256 i; i < 50; ++i) {
            many[i] = data;
            many[i].data = abi.encode(i + 2);
        }
        MultiAttestationRequest[] memory requests = new MultiAttestationRequest[](1);
        requests[0] = MultiAttestationRequest(schema, many);
        eas.multiAttest(requests);
        _note("EAS multiAttest, 50 x 32 B");
    }

    function testBadge() public {
        Badge badge = new Badge();
        badge.mint(STRANGER, 1);
        badge.mint(HOLDER, 2);
        _note("ERC-5192 mint, new holder");
        Collectible plain = new Collectible();
        plain.mint(STRANGER, 1);
        plain.mint(HOLDER, 2);
        _note("OpenZeppelin ERC721 mint, new holder");
    }

    function testRoles() public {
        Roles roles = new Roles();
        roles.grantRole(TYPE, HOLDER);
        _note("OpenZeppelin grantRole");
        roles.revokeRole(TYPE, HOLDER);
        _note("OpenZeppelin revokeRole");
        Coins coin = new Coins();
        coin.transfer(HOLDER, 1);
        _note("OpenZeppelin ERC20 transfer, new holder");
    }

    function _post(uint64 epoch) private {
        vm.warp(conduct.GENESIS() + epoch * 7 days);
        bytes32 root = keccak256(abi.encode(epoch));
        (, bytes32 previous) = conduct.standing();
        bytes32 digest = conduct.epochDigest(epoch, previous, root, DATA, 90);
        (address[] memory signers, bytes[] memory signatures) = (new address[](3), new bytes[](3));
        for (uint256 i; i < 3; ++i) {
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(keys[i], digest);
            (signers[i], signatures[i]) = (vm.addr(keys[i]), abi.encodePacked(r, s, v));
        }
        conduct.post(epoch, root, DATA, 90, signers, signatures);
    }

    function _note(string memory name) private {
        Meter(address(vm)).snapshotGasLastCall("gas", name);
    }
}
