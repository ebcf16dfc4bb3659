// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// The authority of CredentialRegistry is OpenZeppelin's AccessManager, unchanged. It is named here so that it is
// compiled with our settings and exported beside our own contracts.
import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";
