// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ISupporterBond } from "../../src/interfaces/ISupporterBond.sol";

/// @notice A contract wallet that accepts what one key signed (ERC-1271).
contract SigningWallet {
    address private immutable KEY;

    constructor(address key) {
        KEY = key;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        (bytes32 r, bytes32 s, uint8 v) = abi.decode(signature, (bytes32, bytes32, uint8));
        return ecrecover(digest, v, r, s) == KEY ? this.isValidSignature.selector : bytes4(0);
    }
}

/// @notice A funder that cannot be paid.
contract RefusingFunder {
    function bondFor(ISupporterBond target, address supporter) external payable {
        target.bondFor{ value: msg.value }(supporter);
    }

    function claimTo(ISupporterBond target, uint256 exitId, address payable receiver) external {
        target.claimTo(exitId, receiver);
    }
}

/// @notice A funder that claims again while it is being paid.
contract GreedyFunder {
    ISupporterBond private immutable TARGET;
    uint256 public attempts;
    bytes public refusal;
    uint256 public nextExit;

    constructor(ISupporterBond target) {
        TARGET = target;
    }

    function bond() external payable {
        TARGET.bond{ value: msg.value }();
    }

    function queueExit(uint128 amount) external returns (uint256) {
        return TARGET.queueExit(amount);
    }

    /// @notice Which exit to claim from inside the payment.
    function aim(uint256 exitId) external {
        nextExit = exitId;
    }

    receive() external payable {
        ++attempts;
        (bool paid, bytes memory answer) = address(TARGET).call(abi.encodeCall(TARGET.claim, (nextExit)));
        if (!paid) refusal = answer;
    }
}
