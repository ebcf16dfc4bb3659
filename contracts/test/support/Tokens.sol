// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice A token that can be told to behave badly.
contract Token is ERC20("Test", "TST") {
    enum Manner {
        Honest,
        KeepsFee, // a tenth of what is moved is gone
        SaysFalse, // moves nothing and returns false
        Reenters // calls back into `aim` while it moves
    }

    Manner public manner;
    address public aim;
    bytes public call;
    bytes public refusal;

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function behave(Manner how) external {
        manner = how;
    }

    function reenter(address target, bytes calldata with) external {
        (manner, aim, call) = (Manner.Reenters, target, with);
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        if (!_misbehave()) return false;
        return super.transfer(to, _moved(msg.sender, amount));
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        if (!_misbehave()) return false;
        return super.transferFrom(from, to, _moved(from, amount));
    }

    function _moved(address from, uint256 amount) private returns (uint256) {
        if (manner != Manner.KeepsFee) return amount;
        _burn(from, amount / 10);
        return amount - amount / 10;
    }

    function _misbehave() private returns (bool) {
        if (manner == Manner.Reenters) {
            (bool accepted, bytes memory answer) = aim.call(call);
            if (!accepted) refusal = answer;
        }
        return manner != Manner.SaysFalse;
    }
}
