// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ICoin } from "./interfaces/ICoin.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { Address } from "@openzeppelin/contracts/utils/Address.sol";

/// @title Native coin or one ERC-20: see ICoin.
abstract contract Coin is ICoin {
    using SafeERC20 for IERC20;

    /// @inheritdoc ICoin
    address public immutable TOKEN;

    /// @param token zero for the native coin
    constructor(address token) {
        TOKEN = token;
    }

    function _requireNative() internal view {
        if (TOKEN != address(0)) revert WrongCoin();
    }

    /// @dev Calls the token: the caller guards against re-entry, and writes its books afterwards.
    function _takeTokens(uint256 amount) internal {
        if (TOKEN == address(0)) revert WrongCoin();
        IERC20 token = IERC20(TOKEN);
        uint256 held = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = token.balanceOf(address(this)) - held;
        if (received != amount) revert WrongAmount(amount, received);
    }

    /// @dev Calls the receiver or the token: the caller guards against re-entry, and has written its books.
    function _pay(address to, uint256 amount) internal {
        if (TOKEN == address(0)) Address.sendValue(payable(to), amount);
        else IERC20(TOKEN).safeTransfer(to, amount);
    }
}
