// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title Whether an account signed a digest: a key, or a contract wallet (ERC-1271).
library Signers {
    /// @dev OpenZeppelin's SignatureChecker looks for code first, which costs 2,600 gas for each signer. We ask for a
    /// plain signature first: nobody can make one that recovers to a contract's address, and an account with a key
    /// that lent itself code (EIP-7702) still speaks by that key.
    function signed(address signer, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        // The third value only says more about a fault.
        // slither-disable-next-line unused-return
        (address recovered, ECDSA.RecoverError fault,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (fault == ECDSA.RecoverError.NoError && recovered == signer) return true;
        return signer.code.length != 0
            && SignatureChecker.isValidERC1271SignatureNowCalldata(signer, digest, signature);
    }
}
