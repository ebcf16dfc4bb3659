"""What the operators' page shows to be copied works as it stands there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import trio

from warmline.chain.endpoints import open_source
from warmline.daemon.config import load

PAGE = Path(__file__).parents[2] / "deploy" / "OPERATORS.md"


def snippets() -> list[str]:
    """With a peer id in full where the page cuts one short."""
    text = PAGE.read_text("utf-8").replace("12D3KooW...", "12D3KooWES3ZnvmDcJH1uhQy11C21FdmLNxjufmsLcbYUyxWoDwb")
    return re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_every_configuration_on_the_page_is_one(tmp_path: Path) -> None:
    assert snippets()
    for text in snippets():
        (tmp_path / "config.toml").write_text(text)
        config = load(tmp_path)
        for section, fields in tomllib.loads(text).items():
            for name, value in fields.items():
                read = getattr(getattr(config, section), name)
                assert (list(read) if isinstance(read, tuple) else read) == value


def test_the_public_endpoints_on_the_page_are_asked_as_one(tmp_path: Path) -> None:
    (text,) = [each for each in snippets() if "[chain]" in each]
    (tmp_path / "config.toml").write_text(text)
    chain = load(tmp_path).chain

    async def where() -> str:
        async with open_source((chain.url, *chain.also), deadline_s=1) as source:
            return source.where

    told = trio.run(where)
    assert told.count(" and ") == len(chain.also) >= 2
    assert "your-key" not in told  # messages name hosts only
