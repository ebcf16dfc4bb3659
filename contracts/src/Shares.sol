// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What a part of a slashed bond is worth
/// @notice Every part of a supporter's bond (their own, each sponsor's, each exit) is counted in shares of one pool. A
/// slash lowers what all shares are worth by one write, so nobody can hide in many small exits. While nothing was ever
/// slashed a share is a wei.
/// @dev `supply` is the number of shares, `lost` what the pool is worth less than that. All are below 2^96, and
/// `lost < supply` unless both are 0; so no product overflows and nothing is divided by zero. Division is downward for
/// who is paid: what is left stays with the others in the pool, and the last one out takes the pool to exactly zero.
library Shares {
    /// @dev Shares for an amount that is put in.
    function minted(uint256 amount, uint256 supply, uint256 lost) internal pure returns (uint256) {
        return lost == 0 ? amount : amount * supply / (supply - lost);
    }

    /// @dev The fewest shares that are worth an amount.
    function covering(uint256 amount, uint256 supply, uint256 lost) internal pure returns (uint256) {
        if (lost == 0) return amount;
        uint256 pool = supply - lost;
        return (amount * supply + pool - 1) / pool;
    }

    /// @dev What shares are worth.
    function worth(uint256 shares, uint256 supply, uint256 lost) internal pure returns (uint256) {
        return lost == 0 ? shares : shares * (supply - lost) / supply;
    }
}
