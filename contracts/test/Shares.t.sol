// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Shares } from "../src/Shares.sol";
import { Test } from "./support/Test.sol";

/// @notice The rules of shares, for every small pool without exception, and at random for the whole width. What does
/// not divide is proven by halmos (test/proofs).
contract SharesTest is Test {
    uint256 private constant SMALL = 18;

    function testEverySmallPool() public pure {
        for (uint256 supply = 1; supply <= SMALL; ++supply) {
            for (uint256 lost; lost < supply; ++lost) {
                assert(Shares.worth(supply, supply, lost) == supply - lost); // all is all
                for (uint256 part; part <= supply; ++part) {
                    _expectPayingOutKeepsTheBooks(part, supply, lost);
                    _expectPuttingInGainsNothing(part, supply, lost);
                    for (uint256 other; other <= supply - part; ++other) {
                        _expectSplittingGainsNothing(part, other, supply, lost);
                    }
                    uint256 available = Shares.worth(part, supply, lost);
                    for (uint256 amount; amount <= available; ++amount) {
                        _expectCoveringIsExact(part, amount, supply, lost);
                    }
                }
            }
        }
    }

    function testFuzzEveryPool(uint96 a, uint96 b, uint96 c, uint96 d) public pure {
        uint256 supply = bound(a, 1, type(uint96).max);
        uint256 lost = bound(b, 0, supply - 1);
        uint256 part = bound(c, 0, supply);
        _expectPayingOutKeepsTheBooks(part, supply, lost);
        _expectPuttingInGainsNothing(d, supply, lost);
        _expectSplittingGainsNothing(part, bound(d, 0, supply - part), supply, lost);
        _expectCoveringIsExact(part, bound(d, 0, Shares.worth(part, supply, lost)), supply, lost);
        assert(Shares.worth(supply, supply, lost) == supply - lost);
    }

    /// @dev Never less lost than nothing, and something left for every share that is left.
    function _expectPayingOutKeepsTheBooks(uint256 part, uint256 supply, uint256 lost) private pure {
        uint256 paid = Shares.worth(part, supply, lost);
        assert(paid <= supply - lost && lost + paid >= part);
        uint256 left = supply - part;
        uint256 lostThen = lost + paid - part;
        assert(left == 0 ? lostThen == 0 : lostThen < left);
    }

    /// @dev What was lost before cannot be shifted on who comes, nor gained by them.
    function _expectPuttingInGainsNothing(uint256 amount, uint256 supply, uint256 lost) private pure {
        uint256 more = Shares.minted(amount, supply, lost);
        assert(more >= amount);
        uint256 worth = Shares.worth(more, supply + more, lost + more - amount);
        assert(worth <= amount && worth + 1 >= amount);
    }

    function _expectSplittingGainsNothing(uint256 a, uint256 b, uint256 supply, uint256 lost) private pure {
        uint256 apart = Shares.worth(a, supply, lost) + Shares.worth(b, supply, lost);
        assert(apart <= Shares.worth(a + b, supply, lost));
    }

    function _expectCoveringIsExact(uint256 held, uint256 amount, uint256 supply, uint256 lost) private pure {
        uint256 part = Shares.covering(amount, supply, lost);
        assert(part <= held && Shares.worth(part, supply, lost) == amount);
    }
}
