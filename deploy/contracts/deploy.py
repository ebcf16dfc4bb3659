#!/usr/bin/env python3
"""Put warmline's contracts on a chain, check how they are wired, and write the manifest that nodes read.

    deploy/contracts/deploy.py --rpc URL --manifest FILE --terms FILE --wallet FILE   a live chain
    deploy/contracts/deploy.py --rpc URL --manifest FILE --dev                        anvil or `warmline chain dev`
    ... --dry-run                                                                     gas and cost, nothing is sent

Run it again after any failure, with the same words: it goes on where it was. Run it again after success: it checks.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path

import trio

from warmline.chain.contracts import coins
from warmline.chain.deployer import Done, Estimate, Plan, deploy, estimate
from warmline.chain.devchain import dev_terms
from warmline.chain.manifest import Manifest
from warmline.chain.plans import dev_plan, live_plan, read_terms
from warmline.chain.provider import open_rpc
from warmline.chain.wallet import Wallet, dev_wallet, open_keystore, passphrase_from_fd
from warmline.env import SystemClock, run_in_thread
from warmline_protocol.errors import UsageError, WarmlineError


def main(arguments: list[str] | None = None) -> int:
    options = _options().parse_args(arguments)
    try:
        trio.run(_main, options)
    except WarmlineError as error:
        print(f"{error.message}\n{error.hint}".rstrip(), file=sys.stderr)
        return 1
    return 0


async def _main(options: argparse.Namespace) -> None:
    plan = _plan(options)
    async with open_rpc(options.rpc) as rpc:
        if options.dry_run:
            _print_estimate(await estimate(rpc, plan, run_in_thread, SystemClock().utc_ms() // 1000))
            return
        wallet = await run_in_thread(lambda: _wallet(options))
        manifest = await deploy(rpc, wallet, plan, options.manifest, run_in_thread, _print_done)
    _print_manifest(manifest, options.manifest, len(plan.expects))


def _plan(options: argparse.Namespace) -> Plan:
    if options.dev:
        return dev_plan(dev_terms())
    if options.terms is None or options.wallet is None:
        raise UsageError("a live deployment needs --terms and --wallet", hint="On a development chain give --dev.")
    return live_plan(read_terms(options.terms))


def _wallet(options: argparse.Namespace) -> Wallet:
    if options.dev:
        return dev_wallet(0)
    if options.passphrase_fd is not None:
        return open_keystore(options.wallet, passphrase_from_fd(options.passphrase_fd))
    return open_keystore(options.wallet, getpass.getpass("passphrase of the deploying wallet: "))


def _print_done(done: Done) -> None:
    again = " (sent by an earlier run)" if done.resumed else ""
    print(f"{done.says:42} {done.gas:>10,} gas  {coins(done.fee)} coin{again}", flush=True)


def _print_estimate(found: Estimate) -> None:
    for says, gas in found.steps:
        print(f"{says:42} {gas:>10,} gas")
    price = found.fee_per_gas / 10**9
    print(f"{'all':42} {found.gas:>10,} gas, at most {coins(found.cost)} coin at {price:g} gwei; nothing was sent")


def _print_manifest(manifest: Manifest, path: Path, checks: int) -> None:
    for name, deployed in sorted(manifest.contracts.items()):
        print(f"{name:42} 0x{deployed.address.hex()}")
    print(f"{checks} answers and {len(manifest.contracts)} programs are as planned; manifest: {path}")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rpc", required=True, metavar="URL", help="JSON-RPC endpoint of the chain")
    parser.add_argument("--manifest", type=Path, default=Path("manifest.json"), help="written; its journal beside it")
    parser.add_argument("--terms", type=Path, help="who governs, and times: see terms.example.toml")
    parser.add_argument("--wallet", type=Path, help="keystore of the account that pays; it keeps no rights")
    parser.add_argument("--passphrase-fd", type=int, metavar="N", help="read the passphrase from a file descriptor")
    parser.add_argument("--dev", action="store_true", help="dev account 0 deploys and governs; times are short")
    parser.add_argument("--dry-run", action="store_true", help="print gas and cost, send nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
