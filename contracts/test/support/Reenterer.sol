// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ISupporterBond } from "../../src/interfaces/ISupporterBond.sol";

/// @notice Someone who, whenever they are paid, tries everything that could pay them again. Put at an address by its
/// code alone, so it keeps nothing.
contract Reenterer {
    receive() external payable {
        ISupporterBond payer = ISupporterBond(msg.sender);
        for (uint256 id = 1; id < 6; ++id) {
            _try(abi.encodeCall(payer.claim, (id)));
            _try(abi.encodeCall(payer.claimTo, (id, payable(address(this)))));
        }
        _try(abi.encodeCall(payer.sweep, ()));
        _try(abi.encodeCall(payer.queueExit, (1)));
    }

    function _try(bytes memory call) private {
        (bool accepted,) = msg.sender.call(call);
        accepted; // whether or not: the books are what is checked
    }
}
