"""The page "Your data": every command runs, and prints the line that the page shows."""

import pathlib
import re
import shlex
from typing import Any

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from ssltok.cli import _commands as commands
from ssltok.cli import main
from ssltok.evaluation import Report

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "pages" / "guides" / "your_data.md"
COMMAND = re.compile(r"```bash\n(ssltok .*)\n```\n\n```text\n(.*)\n```\n")


def test_every_command_prints_its_line(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("openpyxl")
    monkeypatch.chdir(tmp_path)
    next(iter(Sybil(parsers=[PythonCodeBlockParser()]).parse(PAGE).examples())).evaluate()
    seen: list[Any] = []

    def no_run(data: Any, *_: Any, **__: Any) -> Report:
        seen.append(data)
        return Report(rows=(), about={}, draw=dict)

    monkeypatch.setattr(commands, "run", no_run)
    text = PAGE.read_text(encoding="utf-8")
    found = COMMAND.findall(text)
    assert len(found) == text.count("```bash") == text.count("```text") == 10
    for command, line in found:
        main(shlex.split(command)[1:])
        assert capsys.readouterr().out == f"{line}\n"
    assert len(seen) == 10
