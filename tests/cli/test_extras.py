"""The command where an extra is missing: one line and status 3; and its version, with nothing."""

import json
import subprocess
import sys

import pytest

import ssltok
from ssltok.cli import main

BLOCKED = ("accelerate", "safetensors", "sklearn", "tqdm", "tyro")
SCRIPT = f"""
import io, json, sys
from contextlib import redirect_stderr
from ssltok.cli import main

found = {{}}
for name in {BLOCKED}:
    sys.modules[name] = None
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            main(["info", "nowhere"])
    except SystemExit as ended:
        found[name] = [ended.code, said.getvalue()]
    main(["--version"])
    del sys.modules[name]
print(json.dumps(found))
"""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"ssltok {ssltok.__version__}\n"


def test_without_an_extra_the_command_says_what_to_install() -> None:
    """In a process of its own, where nothing has been imported yet."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    *versions, found = done.stdout.splitlines()
    assert versions == [f"ssltok {ssltok.__version__}"] * len(BLOCKED)
    for name, (status, said) in json.loads(found).items():
        assert status == 3, name
        assert said.startswith("ssltok: "), said
        assert name in said
        assert "pip install 'ssltok[pipelines]'" in said
        assert said.count("\n") == 1, "one line"
    assert set(json.loads(found)) == set(BLOCKED)
