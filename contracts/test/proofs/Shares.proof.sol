// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Shares } from "../../src/Shares.sol";

/// @notice What halmos proves for every input (tools/prove). No solver divides words of 96 bits symbolically, so what
/// divides is proven for every pool of up to 31 shares, and the rest at full width; test/Shares.t.sol tries
/// every rule, also those of `minted` and `covering`, for all small pools, and at random for the whole width.
contract SharesProof {
    modifier pool(uint8 supply, uint8 lost) {
        if (supply <= 31 && (lost < supply || (supply == 0 && lost == 0))) _;
    }

    /// @notice The last one out takes the pool to exactly zero.
    function check_allSharesAreTheWholePool(uint8 supply, uint8 lost) external pure pool(supply, lost) {
        if (supply != 0) assert(Shares.worth(supply, supply, lost) == uint256(supply) - lost);
    }

    /// @notice The books of a pool stay possible when a part is paid out (so nobody is paid
    /// more than the pool holds): never less lost than nothing, and something
    /// left for every share that is left.
    function check_payingOutKeepsTheBooks(uint8 part, uint8 supply, uint8 lost)
        external
        pure
        pool(supply, lost)
    {
        if (part == 0 || part > supply) return;
        uint256 paid = Shares.worth(part, supply, lost);
        assert(uint256(lost) + paid >= part);
        uint256 lostThen = uint256(lost) + paid - part;
        uint256 left = uint256(supply) - part;
        assert(left == 0 ? lostThen == 0 : lostThen < left);
    }

    /// @notice While nothing was slashed a share is a wei, at the full width.
    function check_unslashedIsOneToOne(uint96 amount, uint96 supply) external pure {
        assert(Shares.minted(amount, supply, 0) == amount);
        assert(Shares.covering(amount, supply, 0) == amount);
        assert(Shares.worth(amount, supply, 0) == amount);
    }

    /// @notice No product overflows at the full width.
    function check_nothingOverflows(uint96 part, uint96 supply, uint96 lost) external pure {
        if (lost >= supply) return;
        unchecked {
            uint256 product = uint256(part) * supply;
            assert(product >> 192 == 0);
            assert(product + supply - lost - 1 >= product);
        }
    }
}
