"""A person who runs commands that touch the chain: real processes, a passphrase on a file descriptor."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from support.chain import warmline
from warmline.chain.devchain import DevChain

PASSPHRASE = "correct horse battery staple"


@dataclass
class Person:
    """Runs commands against one chain with files in one directory."""

    chain: DevChain
    folder: Path

    async def run(self, *arguments: str, passphrase: str | None = PASSPHRASE) -> subprocess.CompletedProcess[bytes]:
        command, fds = warmline(*arguments), ()
        if passphrase is not None:
            reading, writing = os.pipe()
            os.write(writing, passphrase.encode() + b"\n")
            os.close(writing)
            command, fds = [*command, "--passphrase-fd", str(reading)], (reading,)
        environment = {**os.environ, "WARMLINE_CHAIN": self.chain.url, "WARMLINE_SUPPORTER": str(self.folder)}
        try:
            return await trio.run_process(
                command, pass_fds=fds, env=environment, capture_stdout=True, capture_stderr=True, check=False
            )
        finally:
            for fd in fds:
                os.close(fd)

    async def json(self, *arguments: str, passphrase: str | None = PASSPHRASE) -> dict[str, Any]:
        done = await self.run(*arguments, "--json", passphrase=passphrase)
        assert done.returncode == 0, done.stderr.decode()
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    async def fails(self, *arguments: str, passphrase: str | None = PASSPHRASE) -> str:
        done = await self.run(*arguments, passphrase=passphrase)
        assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
        text = done.stderr.decode()
        assert "→" in text
        assert "Traceback" not in text
        return text
