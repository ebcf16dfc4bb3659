// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ERC5192 } from "../erc5192/ERC5192.sol";

/// @notice The reference implementation of ERC-5192 with nothing added but what mints.
contract Badge is ERC5192("Badge", "B", true) {
    event Locked(uint256 tokenId);

    function mint(address to, uint256 id) external {
        _mint(to, id);
        emit Locked(id); // the standard asks for it, and the reference leaves it to whoever mints
    }
}
