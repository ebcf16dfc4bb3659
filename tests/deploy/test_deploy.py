"""What deploy/ ships passes the linters of its formats, and writes no request logs with addresses."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from warmline.daemon.config import load

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
HERE = Path(__file__).parent


def tool(name: str, where: str | None = None) -> str:
    found = shutil.which(name, path=where)
    if found is None and os.environ.get("CI") != "true":
        pytest.skip(f"{name} is not installed here: tests/deploy/install brings it")
    assert found, f"{name} is missing"
    return found


def run(*command: str, **env: str) -> str:
    done = subprocess.run(command, env=os.environ | env, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="session", autouse=True)
def linters():
    if shutil.which("npm"):
        run(str(HERE / "install"))


def test_containerfile():
    run(tool("hadolint"), "--failure-threshold", "warning", "deploy/container/Containerfile")


def test_compose_is_good_yaml():
    rules = "{extends: default, rules: {line-length: {max: 130}, document-start: disable}}"
    run(tool("yamllint"), "-s", "-d", rules, "deploy/compose/compose.yaml")


def test_compose():
    dclint = tool("dclint", str(HERE / "node_modules" / ".bin"))
    run(dclint, "-c", str(HERE / ".dclintrc.json"), "--max-warnings", "0", "deploy/compose/compose.yaml")


def test_caddyfile():
    caddy, path = tool("caddy"), str(DEPLOY / "compose" / "Caddyfile")
    out = run(caddy, "validate", "--adapter", "caddyfile", "--config", path, WARMLINE_HOST="warmline.example.org")
    assert "Valid configuration" in out
    adapted = run(caddy, "adapt", "--adapter", "caddyfile", "--config", path, WARMLINE_HOST="warmline.example.org")
    assert '"access"' not in adapted
    assert not re.search(r'"logs":\s*{\s*"(?!default)', adapted)


def test_systemd_unit(tmp_path):
    analyze = tool("systemd-analyze")
    unit = tmp_path / "warmline.service"
    text = (DEPLOY / "systemd" / "warmline.service").read_text()
    # The unit names the installed program; here that is this environment's.
    unit.write_text(text.replace("/opt/warmline/bin/warmline", f"{Path(sys.executable).parent}/warmline"))
    assert run(analyze, "verify", str(unit)).strip() == ""
    out = run(analyze, "security", "--offline=true", "--threshold=20", str(unit))
    assert "OK" in out.splitlines()[-1]


def test_example_configurations_load(tmp_path):
    examples = sorted((DEPLOY / "examples").glob("node-*.toml"))
    assert examples
    for example in examples:
        shutil.copy(example, tmp_path / "config.toml")
        assert load(tmp_path).net.listen


def test_nothing_shipped_writes_request_logs():
    for path in sorted(DEPLOY.rglob("*")):
        if path.is_file() and path.suffix not in {".md"}:
            text = path.read_text("utf-8", "replace")
            assert not re.search(r"access[_-]?log\s+(?!off)\S|log_format|--access-logfile", text), path
