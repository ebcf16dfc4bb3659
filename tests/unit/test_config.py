"""The configuration: what is printed can be read back, and every mistake is named with its remedy."""

from pathlib import Path

import pytest

from warmline.daemon.config import Config, load, parse, render
from warmline_protocol.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    (folder / "config.toml").write_text(text, "utf-8")
    return folder


def test_what_is_printed_is_the_default(tmp_path):
    assert load(write(tmp_path, render())) == Config(tmp_path)


def test_overrides_come_back(tmp_path):
    text = render({"net": {"listen": ("/ip4/127.0.0.1/tcp/0",)}, "node": {"operator": 'Frieda\'s "corner" ☕\n'}})
    config = load(write(tmp_path, text))
    assert config.net.listen == ("/ip4/127.0.0.1/tcp/0",)
    assert config.node.operator == 'Frieda\'s "corner" ☕\n'


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"nod": {}}, r"no section \[nod\]"),
        ({"node": 3}, "no section"),
        ({"net": {"lisen": []}}, "has no field 'lisen'"),
        ({"net": {"listen": "/ip4/0.0.0.0/tcp/1"}}, "must be a list of strings"),
        ({"node": {"store_mb": "1024"}}, "must be a whole number"),
        ({"node": {"store_mb": True}}, "must be a whole number"),
        ({"node": {"store_mb": 1}}, "must be at least 16"),
        ({"relay": {"enabled": 1}}, "must be true or false"),
    ],
)
def test_a_mistake_is_named(tables, says):
    with pytest.raises(ConfigError, match=says) as caught:
        parse(tables, Path(), "config.toml")
    assert caught.value.hint


def test_a_syntax_error_names_the_line(tmp_path):
    with pytest.raises(ConfigError, match="line 2"):
        load(write(tmp_path, "[node]\noperator = no quotes\n"))


def test_no_node_here(tmp_path):
    with pytest.raises(ConfigError, match="no node in") as caught:
        load(tmp_path)
    assert "node init" in caught.value.hint


def test_not_text(tmp_path):
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
