"""The embedded chain: py-evm under eth-tester's accounts, answering JSON-RPC requests one at a time.

It mines one block per transaction, at once, and otherwise an empty block now and then so that its time follows the
clock. eth-tester's own block production is not used: it draws a random `mixHash`, and a chain that comes back after a
restart must have the same block hashes, or every follower would see a reorganisation. Logs and receipts are indexed
as they are mined, because eth-tester's getLogs slows down with the square of the range.

Everything here blocks and belongs to one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eth.abc import BlockAPI, BlockHeaderAPI, SignedTransactionAPI
from eth.exceptions import Revert, VMError
from eth.vm.spoof import SpoofTransaction
from eth_hash.auto import keccak
from eth_tester.backends.pyevm.main import PyEVMBackend, get_default_genesis_params
from eth_tester.backends.pyevm.serializers import serialize_block, serialize_transaction, serialize_transaction_receipt

from warmline.chain.accounts import DEV_ACCOUNTS, DEV_MNEMONIC, DEV_PATH
from warmline.chain.errors import JournalError
from warmline.chain.events import unhex
from warmline.chain.journal import Journal
from warmline_protocol.limits import DEV_CHAIN_ID

TIP_WEI = 10**9
LOGS_MAX = 10_000
CALL_GAS = 25_000_000
FORMAT = "warmline-devchain/1"


class Refusal(Exception):
    """A JSON-RPC error for the caller."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class EmbeddedChain:
    """`now_s` is the wall clock in seconds. Opening replays the journal; a new one starts at the present."""

    def __init__(self, journal: Journal, now_s: Callable[[], int]) -> None:
        self._journal = journal
        self._now_s = now_s
        self._blocks: list[dict[str, Any]] = []
        self._numbers: dict[str, int] = {}
        self._logs: list[list[dict[str, Any]]] = []
        self._receipts: dict[str, dict[str, Any]] = {}
        self._transactions: dict[str, dict[str, Any]] = {}
        #: Set by whoever deploys the contracts; answered to `warmline_manifest`.
        self.manifest: dict[str, Any] | None = None
        self._methods = self._table()
        self._open()

    @property
    def number(self) -> int:
        return len(self._blocks) - 1

    @property
    def time_s(self) -> int:
        return int(self._blocks[-1]["timestamp"], 16)

    # -- writing

    def submit(self, raw: bytes) -> str:
        """Execute one signed transaction in a block of its own; its hash, once that is on the disk."""
        transaction = self._decode(raw)
        name = _hex(transaction.hash)
        if name in self._transactions:
            return name
        self._write([raw], [transaction])
        return name

    def tick(self) -> None:
        """Mine an empty block."""
        self._write([], [])

    def _write(self, raws: Sequence[bytes], transactions: Sequence[SignedTransactionAPI]) -> None:
        time_s = max(self._now_s(), self.time_s + 1)
        block = self._mine(time_s, transactions)
        self._journal.append({"time": time_s, "raw": [raw.hex() for raw in raws], "hash": block.hash.hex()})
        self._index(block)

    def _mine(self, time_s: int, transactions: Sequence[SignedTransactionAPI]) -> BlockAPI:
        before = self._chain.header
        self._chain.set_header_timestamp(time_s)
        try:
            for transaction in transactions:
                self._chain.apply_transaction(transaction)
        except Exception as error:  # py-evm has no common base for "this transaction cannot run"
            self._chain.header = before
            raise Refusal(-32000, str(error) or type(error).__name__) from error
        parent = bytes.fromhex(self._blocks[-1]["hash"][2:])
        block: BlockAPI = self._chain.mine_block(mix_hash=bytes(keccak(parent)), blob_gas_used=0)
        return block

    def _decode(self, raw: bytes) -> SignedTransactionAPI:
        if raw[:1] == b"\x03":
            raise Refusal(-32000, "blob transactions are not supported here")
        try:
            transaction: SignedTransactionAPI = self._chain.get_transaction_builder().decode(raw)
            transaction.validate()
            _ = transaction.sender
        except Exception as error:  # rlp, eth-keys and py-evm each raise their own for bad bytes
            raise Refusal(-32000, f"this is not a valid signed transaction: {error}") from error
        if transaction.chain_id != DEV_CHAIN_ID:
            raise Refusal(-32000, f"signed for chain {transaction.chain_id}, this is chain {DEV_CHAIN_ID}")
        return transaction

    # -- opening

    def _open(self) -> None:
        records = self._journal.recover()
        head = next(records, None)
        if head is None:
            head = {"format": FORMAT, "genesis": self._now_s()}
            self._journal.append(head)
        if head.get("format") != FORMAT:
            raise JournalError(f"{self._journal.path} was written by another version of the dev chain")
        self._genesis(head["genesis"])
        for record in records:
            self._replay(record)

    def _genesis(self, time_s: int) -> None:
        backend = PyEVMBackend.from_mnemonic(
            DEV_MNEMONIC,
            genesis_state_overrides={"balance": 10_000 * 10**18},
            num_accounts=DEV_ACCOUNTS,
            genesis_parameters=get_default_genesis_params({"timestamp": time_s}),
            hd_path=DEV_PATH,
        )
        self._chain = backend.chain
        type(self._chain).chain_id = DEV_CHAIN_ID  # the class is made anew for each backend
        self._index(self._chain.get_canonical_block_by_number(0))

    def _replay(self, record: Mapping[str, Any]) -> None:
        raws = [bytes.fromhex(raw) for raw in record["raw"]]
        block = self._mine(record["time"], [self._decode(raw) for raw in raws])
        if block.hash.hex() != record["hash"]:
            raise JournalError(f"block {block.number} of {self._journal.path} replays to another hash")
        self._index(block)

    def _index(self, block: BlockAPI) -> None:
        content = _json(serialize_block(block, False, False))
        content["miner"] = content.pop("coinbase")
        content["logsBloom"] = f"0x{block.header.bloom:0512x}"
        self._blocks.append(content)
        self._numbers[content["hash"]] = block.number
        self._logs.append([])
        receipts = block.get_receipts(self._chain.chaindb) if block.transactions else ()
        for at, transaction in enumerate(block.transactions):
            receipt = serialize_transaction_receipt(block, receipts, transaction, at, False, None)
            self._index_transaction(serialize_transaction(block, transaction, at, False), receipt)

    def _index_transaction(self, transaction: dict[str, Any], receipt: dict[str, Any]) -> None:
        content, answer = _json(transaction), _json(receipt)
        content["input"] = content.pop("data")
        for log in answer["logs"]:
            log["removed"] = False
        answer["logsBloom"] = self._blocks[-1]["logsBloom"]
        self._transactions[content["hash"]] = content
        self._receipts[content["hash"]] = answer
        self._logs[-1] += answer["logs"]

    # -- answering

    def answer(self, method: Any, params: Any) -> Any:
        """The JSON result of one request. Raises Refusal."""
        found = self._methods.get(method) if isinstance(method, str) else None
        if found is None:
            raise Refusal(-32601, f"this chain does not know the method {str(method)[:60]}")
        try:
            return found(*(params or []))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise Refusal(-32602, f"the parameters of {method} cannot be read: {str(error)[:200]}") from error

    def _table(self) -> dict[str, Callable[..., Any]]:
        return {
            "eth_chainId": lambda: hex(DEV_CHAIN_ID),
            "net_version": lambda: str(DEV_CHAIN_ID),
            "web3_clientVersion": lambda: FORMAT,
            "eth_syncing": lambda: False,
            "eth_accounts": list,
            "eth_blockNumber": lambda: hex(self.number),
            "eth_getBlockByNumber": self._get_block_by_number,
            "eth_getBlockByHash": self._get_block_by_hash,
            "eth_getTransactionByHash": lambda name: self._transactions.get(name.lower()),
            "eth_getTransactionReceipt": lambda name: self._receipts.get(name.lower()),
            "eth_getTransactionCount": lambda who, at="latest": hex(self._state(at).get_nonce(_account(who))),
            "eth_getBalance": lambda who, at="latest": hex(self._state(at).get_balance(_account(who))),
            "eth_getCode": lambda who, at="latest": _hex(self._state(at).get_code(_account(who))),
            "eth_gasPrice": lambda: hex(self._base_fee() + TIP_WEI),
            "eth_maxPriorityFeePerGas": lambda: hex(TIP_WEI),
            "eth_feeHistory": self._fee_history,
            "eth_call": self._call,
            "eth_estimateGas": self._estimate,
            "eth_getLogs": self._get_logs,
            "eth_sendRawTransaction": lambda raw: self.submit(unhex(raw)),
            "warmline_manifest": lambda: self.manifest,
        }

    def _at(self, tag: Any) -> int | None:
        if tag in ("latest", "pending", "safe", "finalized"):
            return self.number
        number = 0 if tag == "earliest" else int(tag, 16)
        return number if 0 <= number <= self.number else None

    def _header(self, tag: Any) -> BlockHeaderAPI:
        number = self._at(tag)
        if number is None:
            raise Refusal(-32001, f"there is no block {tag}")
        header: BlockHeaderAPI = self._chain.get_canonical_block_header_by_number(number)
        return header

    def _state(self, tag: Any) -> Any:
        return self._chain.get_vm(self._header(tag)).state

    def _get_block_by_number(self, tag: Any, full: bool = False) -> dict[str, Any] | None:
        number = self._at(tag)
        return None if number is None else self._shown(self._blocks[number], full)

    def _get_block_by_hash(self, name: str, full: bool = False) -> dict[str, Any] | None:
        number = self._numbers.get(name.lower())
        return None if number is None else self._shown(self._blocks[number], full)

    def _shown(self, block: dict[str, Any], full: bool) -> dict[str, Any]:
        if not full:
            return block
        return block | {"transactions": [self._transactions[name] for name in block["transactions"]]}

    def _base_fee(self) -> int:
        return int(self._blocks[-1]["baseFeePerGas"], 16)

    def _fee_history(self, count: Any, newest: Any = "latest", percentiles: Any = ()) -> dict[str, Any]:
        last = self._at(newest)
        if last is None:
            raise Refusal(-32001, f"there is no block {newest}")
        asked = count if isinstance(count, int) else int(count, 16)
        first = max(0, last - max(1, min(asked, 1024)) + 1)
        shown = self._blocks[first : last + 1]
        return {
            "oldestBlock": hex(first),
            "baseFeePerGas": [block["baseFeePerGas"] for block in shown] + [shown[-1]["baseFeePerGas"]],
            "gasUsedRatio": [int(block["gasUsed"], 16) / int(block["gasLimit"], 16) for block in shown],
            "reward": [[hex(TIP_WEI) for _ in percentiles or ()] for _ in shown],
        }

    def _unsigned(self, call: Mapping[str, Any], header: BlockHeaderAPI) -> Any:
        sender = _account(call.get("from") or "0x" + "00" * 20)
        unsigned = self._chain.create_unsigned_transaction(
            nonce=self._chain.get_vm(header).state.get_nonce(sender),
            gas_price=0,
            gas=min(int(call.get("gas", hex(CALL_GAS)), 16), CALL_GAS),
            to=unhex(call.get("to") or "0x"),
            value=int(call.get("value", "0x0"), 16),
            data=unhex(call.get("data") or call.get("input") or "0x"),
        )
        return SpoofTransaction(unsigned, from_=sender)

    def _call(self, call: Mapping[str, Any], tag: Any = "latest", *_overrides: Any) -> str:
        header = self._now(self._header(tag), tag)
        return _hex(_reverting(lambda: self._chain.get_transaction_result(self._unsigned(call, header), header)))

    def _estimate(self, call: Mapping[str, Any], tag: Any = "latest", *_overrides: Any) -> str:
        header = self._now(self._header(tag), tag)
        return hex(_reverting(lambda: self._chain.estimate_gas(self._unsigned(call, header), header)))

    def _now(self, header: BlockHeaderAPI, tag: Any) -> BlockHeaderAPI:
        """Answer as the next block would: contracts ask for the time, and the last block may be old."""
        if tag not in ("latest", "pending"):
            return header
        return header.copy(timestamp=max(self._now_s(), header.timestamp + 1))

    def _get_logs(self, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        addresses, topics = _addresses(wanted), wanted.get("topics") or []
        for number in self._range(wanted):
            found += [log for log in self._logs[number] if _matches(log, addresses, topics)]
            if len(found) > LOGS_MAX:
                raise Refusal(-32005, f"more than {LOGS_MAX} logs: ask for fewer blocks")
        return found

    def _range(self, wanted: Mapping[str, Any]) -> range:
        if "blockHash" in wanted:
            number = self._numbers.get(wanted["blockHash"].lower())
            if number is None:
                raise Refusal(-32001, "there is no block with that hash")
            return range(number, number + 1)
        first, last = self._at(wanted.get("fromBlock", "latest")), self._at(wanted.get("toBlock", "latest"))
        return range(self.number + 1 if first is None else first, (self.number if last is None else last) + 1)


def _account(text: Any) -> bytes:
    address = unhex(text)
    if len(address) != 20:
        raise ValueError("an address has 20 bytes")
    return address


def _reverting(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Revert as error:
        data = error.args[0] if error.args and isinstance(error.args[0], bytes) else b""
        raise Refusal(3, "execution reverted", _hex(data)) from error
    except VMError as error:
        raise Refusal(-32000, str(error)) from error
    except Exception as error:  # py-evm's ValidationError has two homes, and eth_utils' no class that we may name
        if type(error).__module__.startswith(("eth.", "eth_utils")):
            raise Refusal(-32000, str(error)) from error
        raise


def _addresses(wanted: Mapping[str, Any]) -> set[str] | None:
    given = wanted.get("address")
    if given is None:
        return None
    return {one.lower() for one in ([given] if isinstance(given, str) else given)}


def _matches(log: Mapping[str, Any], addresses: set[str] | None, topics: Sequence[Any]) -> bool:
    if addresses is not None and log["address"] not in addresses:
        return False
    for at, wanted in enumerate(topics):
        if wanted is None:
            continue
        if at >= len(log["topics"]) or log["topics"][at] not in ([wanted] if isinstance(wanted, str) else wanted):
            return False
    return True


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _json(value: Any) -> Any:
    """eth-tester's values as JSON-RPC has them: numbers and bytes in hex, names in camelCase."""
    if isinstance(value, Mapping):
        return {_camel(key): _json(entry) for key, entry in value.items()}
    if isinstance(value, bytes):
        return _hex(value)
    if isinstance(value, (list, tuple)):
        return [_json(entry) for entry in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
