"""The command where an extra is missing: one line and status 3; and its version, with nothing."""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

import ssltok
from ssltok._shared.extras import NAMES
from ssltok.cli import _commands, main

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


def optional() -> list[tuple[str, str]]:
    """Packages and their extras, as pyproject.toml has them."""
    text = (pathlib.Path(__file__).parents[2] / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    imported = {name: module for module, name in NAMES.items()}
    names = {re.split(r"[>=<]", word)[0]: extra for extra, words in extras.items()
             for word in words if extra != "dev"}  # fmt: skip
    return [(imported.get(name, name), extra) for name, extra in names.items()]


@pytest.mark.parametrize(("package", "extra"), optional())
@pytest.mark.parametrize("part", ["", ".axes", ".some.deep_part"])
def test_the_hint_names_the_package_of_whatever_part_is_missing(
    package: str,
    extra: str,
    part: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(words: list[str]) -> None:
        raise ModuleNotFoundError(f"No module named '{package}{part}'", name=f"{package}{part}")

    monkeypatch.setattr(_commands, "run_command", work)
    with pytest.raises(SystemExit) as ended:
        main(["info", "nowhere"])
    assert ended.value.code == 3
    name = NAMES.get(package, package)
    line = f"ssltok: needs {name}; install it with: pip install 'ssltok[{extra}]'\n"
    assert capsys.readouterr().err == line
