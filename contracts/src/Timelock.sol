// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// What the acts of governance wait behind on a live chain is OpenZeppelin's TimelockController, unchanged. It is named
// here so that it is compiled with our settings and exported beside our own contracts.
import { TimelockController } from "@openzeppelin/contracts/governance/TimelockController.sol";
