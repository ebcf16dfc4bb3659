"""The house rules that a machine can hold: arrows point down, errors say what to do, help stays light."""

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from warmline.cli.root import COMMANDS
from warmline.daemon.config import SECTIONS
from warmline_protocol import errors, vectors

ROOT = Path(__file__).resolve().parents[2]
NODE, PROTOCOL = ROOT / "node" / "warmline", ROOT / "protocol" / "warmline_protocol"
SOURCES = sorted([*NODE.rglob("*.py"), *PROTOCOL.rglob("*.py")])

# Which of our packages each may import; its own is always allowed.
LAYERS = {
    "net": set(),
    "store": set(),
    "chain": {"store"},
    "services": {"net", "chain", "store"},
    "client": {"net", "chain", "store"},
    "daemon": {"services", "net", "chain", "store"},
    "demo": {"client", "daemon", "chain"},
    "cli": {"demo", "daemon", "client", "services", "net", "chain", "store"},
}
# What a protocol that is bytes and events must never touch.
IMPURE = {"trio", "libp2p", "web3", "socket", "os", "time", "random", "secrets", "threading", "warmline", "asyncio"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", sorted(PROTOCOL.rglob("*.py")), ids=lambda p: str(p.relative_to(PROTOCOL)))
def test_the_protocol_is_sans_io(path):
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE


@pytest.mark.parametrize("layer", sorted(LAYERS))
def test_arrows_point_down(layer):
    allowed = LAYERS[layer] | {layer}
    for path in sorted((NODE / layer).rglob("*.py")):
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "warmline" and len(parts) > 1 and parts[1] in LAYERS:
                assert parts[1] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_every_layer_is_listed():
    found = {path.name for path in NODE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert found <= set(LAYERS)


def all_errors():
    import importlib
    import pkgutil

    for package in ("warmline", "warmline_protocol"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if module.name.endswith(("errors", "__main__")) and not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    todo, seen = [errors.WarmlineError], set()
    while todo:
        cls = todo.pop()
        seen.add(cls)
        todo += cls.__subclasses__()
    return sorted(seen, key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", all_errors(), ids=lambda cls: cls.__name__)
def test_every_error_says_whose_fault_it_is_and_what_to_do(cls):
    assert inspect.getdoc(cls)
    assert re.match(r"[A-Z].*[.!]$", cls.default_hint, re.DOTALL), cls.default_hint
    families = [f for f in (errors.LocalError, errors.RemoteError, errors.WorldError) if issubclass(cls, f)]
    assert len(families) == (cls is not errors.WarmlineError)


def is_blanket(handler: ast.ExceptHandler) -> bool:
    """Whether it catches everything and keeps it: one that ends in a bare ``raise`` only tidies up."""
    named = (
        {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else {"Exception"}
    )
    last = handler.body[-1]
    lets_go = isinstance(last, ast.Raise) and last.exc is None
    return bool(named & {"Exception", "BaseException"}) and not lets_go


def test_a_blanket_except_says_why():
    for path in SOURCES:
        text = path.read_text("utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ExceptHandler) and is_blanket(node):
                comment = re.sub(r"noqa: [A-Z0-9, ]+", "", lines[node.lineno - 1].partition("#")[2])
                assert len(comment.strip(" -—")) > 15, f"{path.relative_to(ROOT)}:{node.lineno}"


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def test_nothing_names_a_machine_or_a_registry():
    bad = re.compile(rb"/[w]ork/[a-z]|/[r]oot/|/[h]ome/[a-z]+/|[p]ythonhosted|[n]pmjs\.|[r]egistry\.npm")
    for path in tracked():
        if path != Path(__file__):
            found = bad.search(path.read_bytes())
            assert not found, f"{path.relative_to(ROOT)}: {found}"


def test_no_test_changes_a_bound_of_the_grammar():
    """A message's fields are read when the first one comes: a bound that was another then stays so in that process."""
    bounds = {
        name
        for path in PROTOCOL.rglob("*.py")
        for line in re.findall(r"^    \w+: .*limits\..*$", path.read_text("utf-8"), re.MULTILINE)
        for name in re.findall(r"limits\.([A-Z_]+)", line)
    }
    assert "FEEDBACK_DROPS_MAX" in bounds
    for path in (ROOT / "tests").rglob("*.py"):
        changed = set(re.findall(r"setattr\(\s*limits,\s*\"(\w+)\"", path.read_text("utf-8")))
        assert not changed & bounds, f"{path.relative_to(ROOT)} changes {sorted(changed & bounds)}"


def test_pages_name_only_tests_that_exist():
    for page in (path for path in tracked() if path.suffix == ".md"):
        for name in re.findall(r"\b[a-z]+/test_\w+\.py", page.read_text("utf-8")):
            assert (ROOT / "tests" / name).is_file(), f"{page.relative_to(ROOT)} names {name}"


def test_links_between_pages_lead_somewhere():
    for page in (path for path in tracked() if path.suffix == ".md"):
        for link in re.findall(r"\]\(([^)#:\s]+)[^):]*\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links to {link}"


def test_the_operators_page_has_every_field_of_the_configuration():
    page = (ROOT / "deploy" / "OPERATORS.md").read_text("utf-8")
    fields = {f"[{name}] {each.name}" for name, section in SECTIONS.items() for each in dataclasses.fields(section)}
    assert fields == set(re.findall(r"^\| `(\[\w+\] \w+)` \|", page, re.MULTILINE))


def test_the_index_of_vectors_has_every_file():
    page = (ROOT / "protocol" / "README.md").read_text("utf-8").partition("## Vectors")[2]
    assert {name for name in vectors.names() if not name.startswith("messages.")} <= set(
        re.findall(r"`([\w.]+)`", page)
    )


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['warmline', '--help']\n"
        "from warmline.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'trio', 'libp2p', 'web3', 'rich', 'cryptography', 'msgpack', 'apsw', 'eth_account', 'httpx'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "HEAVY []" in out
    for name in COMMANDS:
        assert name in out


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself_without_its_machinery(name):
    code = (
        f"import sys; sys.argv = ['warmline', '{name}', '--help']\n"
        "from warmline.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'trio', 'libp2p', 'web3', 'eth_account', 'eth_tester', 'apsw', 'httpx'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
