// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ConductEpochs } from "../src/ConductEpochs.sol";
import { CredentialRegistry } from "../src/CredentialRegistry.sol";
import { IConductEpochs } from "../src/interfaces/IConductEpochs.sol";
import { Test } from "./support/Test.sol";
import { Vm } from "./support/Vm.sol";
import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";

/// @notice Three collectors, two issuers and a stranger under all acts in any order; half of the posts are right and
/// the others wrong in one way. It folds the events into the plainest model, by the clock.
contract ConductActors is Test {
    struct Posted {
        uint64 epoch;
        bytes32 root;
        uint64 standsAt;
        bool vetoed;
    }

    ConductEpochs public immutable CONDUCT;
    CredentialRegistry public immutable REGISTRY;
    uint64 public constant EPOCHS = 40;
    uint256[3] private _keys = [uint256(1), 2, 3];
    Posted[] private _posts;
    mapping(uint64 epoch => uint256) public granted;
    uint256 public accepted;

    constructor() {
        address governance = address(new AccessManager(address(this)));
        REGISTRY = new CredentialRegistry(governance);
        REGISTRY.admitIssuer(person(1), 0);
        REGISTRY.admitIssuer(person(2), 0);
        for (uint256 i; i < 2; ++i) {
            for (uint256 j; j < 2; ++j) {
                if (vm.addr(_keys[j]) > vm.addr(_keys[j + 1])) {
                    (_keys[j], _keys[j + 1]) = (_keys[j + 1], _keys[j]);
                }
            }
        }
        address[] memory collectors = new address[](3);
        for (uint256 i; i < 3; ++i) {
            collectors[i] = vm.addr(_keys[i]);
        }
        CONDUCT = new ConductEpochs(governance, address(REGISTRY), 7 days, 3 days, collectors, 2);
    }

    function grantVouchers(uint256 who, uint64 ahead, uint32 count) external {
        uint64 epoch = CONDUCT.currentEpoch() + ahead % 3;
        _act(
            person(1 + who % 3),
            abi.encodeCall(CONDUCT.grantVouchers, (epoch, uint32(bound(count, 1, 50)), bytes32(who | 1)))
        );
    }

    function post(uint64 back, uint64 count, uint256 signing, uint256 fault) external {
        uint64 current = CONDUCT.currentEpoch();
        uint64 epoch = current - uint64(bound(back, 0, current < 4 ? current : 4));
        bytes32 root = keccak256(abi.encode(epoch, count % 4));
        count = count % 60;
        bytes memory call = _postCall(epoch, root, count, signing, fault % 8);
        bool done = _act(person(9), call);
        vm.assertTrue(!done || fault % 8 > 3, "a post that is wrong is refused");
        vm.assertTrue(!done || count <= granted[epoch], "no more tokens than vouchers");
        if (done) ++accepted;
    }

    function veto(uint256 who, bool right) external {
        if (_posts.length == 0) return;
        Posted memory last = _posts[_posts.length - 1];
        address caller = who % 4 < 3 ? vm.addr(_keys[who % 3]) : person(9);
        bytes memory call = abi.encodeCall(CONDUCT.veto, (last.epoch, right ? last.root : bytes32(who)));
        bool done = _act(caller, call);
        vm.assertTrue(
            !done || (caller != person(9) && block.timestamp < last.standsAt), "a veto in its window"
        );
    }

    function suspendIssuer(uint256 rare, uint32 time) external {
        if (rare % 8 == 0) REGISTRY.suspendIssuer(person(1 + rare % 2), now64() + time % 10 days);
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + bound(time, 1, 5 days));
    }

    /// @notice The last post that was not vetoed and whose window is over.
    function expected() external view returns (uint64 epoch, bytes32 root) {
        for (uint256 i = _posts.length; i > 0; --i) {
            Posted memory it = _posts[i - 1];
            if (!it.vetoed && block.timestamp >= it.standsAt) return (it.epoch, it.root);
        }
    }

    /// @notice Epochs of the posts that stood, in the order of posting, only ever grow; and no two wait at once.
    function isSound() external view returns (bool) {
        uint64 last;
        uint256 waiting;
        for (uint256 i; i < _posts.length; ++i) {
            if (_posts[i].vetoed) continue;
            if (_posts[i].epoch <= last) return false;
            last = _posts[i].epoch;
            if (block.timestamp < _posts[i].standsAt) ++waiting;
        }
        return waiting <= 1;
    }

    function _postCall(uint64 epoch, bytes32 root, uint64 count, uint256 signing, uint256 fault)
        private
        view
        returns (bytes memory)
    {
        bytes32 digest = _digest(epoch, root, fault == 1 ? count + 1 : count, fault == 0);
        signing = fault == 2 ? 1 : bound(signing, 2, 3);
        (address[] memory signers, bytes[] memory signatures) = (new address[](signing), new bytes[](signing));
        for (uint256 i; i < signing; ++i) {
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(fault == 3 ? 9 : _keys[i], digest);
            (signers[i], signatures[i]) = (vm.addr(_keys[i]), abi.encodePacked(r, s, v));
        }
        return abi.encodeCall(CONDUCT.post, (epoch, root, 0, count, signers, signatures));
    }

    function _digest(uint64 epoch, bytes32 root, uint64 count, bool ofAnother)
        private
        view
        returns (bytes32)
    {
        (, bytes32 previous) = CONDUCT.standing();
        return CONDUCT.epochDigest(epoch, ofAnother ? keccak256("another") : previous, root, 0, count);
    }

    function _act(address who, bytes memory call) private returns (bool done) {
        vm.recordLogs();
        vm.prank(who);
        (done,) = address(CONDUCT).call(call);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        if (!done) return false;
        vm.assertTrue(logs.length == 1, "one event for each accepted act");
        _fold(logs[0]);
    }

    function _fold(Vm.Log memory log) private {
        if (log.topics[0] == IConductEpochs.VouchersGranted.selector) {
            (uint32 count,) = abi.decode(log.data, (uint32, bytes32));
            granted[uint64(uint256(log.topics[2]))] += count;
        } else if (log.topics[0] == IConductEpochs.EpochPosted.selector) {
            (, bytes32 root,,, uint64 standsAt) =
                abi.decode(log.data, (bytes32, bytes32, bytes32, uint64, uint64));
            _posts.push(Posted(uint64(uint256(log.topics[1])), root, standsAt, false));
        } else {
            _posts[_posts.length - 1].vetoed = true;
        }
    }
}

contract ConductEpochsInvariantTest is Test {
    ConductActors private actors;
    ConductEpochs private conduct;

    function setUp() public {
        vm.warp(1_800_000_000);
        actors = new ConductActors();
        conduct = actors.CONDUCT();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(actors);
    }

    /// @notice What stands is what a reader of the events and the clock would say.
    function invariant_whatStandsFollowsFromEvents() public view {
        (uint64 epoch, bytes32 root) = conduct.standing();
        (uint64 expectedEpoch, bytes32 expectedRoot) = actors.expected();
        vm.assertTrue(epoch == expectedEpoch && root == expectedRoot, "what stands");
        vm.assertTrue(actors.isSound(), "order, and one at a time");
    }

    /// @notice Vouchers are what was granted, epoch by epoch.
    function invariant_vouchersFollowFromEvents() public view {
        for (uint64 epoch; epoch < actors.EPOCHS(); ++epoch) {
            vm.assertTrue(conduct.vouchersOf(epoch) == actors.granted(epoch), "vouchers");
        }
    }
}
