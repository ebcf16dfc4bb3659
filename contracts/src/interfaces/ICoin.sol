// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What a contract is paid in
/// @notice The chain's native coin or one ERC-20, fixed when it is deployed. Amounts are wei, or the token's least
/// unit.
interface ICoin {
    /// @notice This function takes the other kind of coin.
    error WrongCoin();

    /// @notice Another amount arrived than was due, as with a token that keeps a fee.
    error WrongAmount(uint256 due, uint256 received);

    /// @notice The ERC-20; zero for the native coin.
    function TOKEN() external view returns (address);
}
