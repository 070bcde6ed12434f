"""A place that cannot be written is told before anything is read, by every command."""

import errno
import os
import pathlib
from typing import Any

import pytest

from ssltok._shared import outputs
from ssltok.cli import _reading
from ssltok.pipelines import SSLTokenizer
from tests.cli.test_safety import refused

COMMANDS = {
    "run": ["run", "--data", "x.csv", "--out", "new"],
    "run, overwrite": ["run", "--data", "x.csv", "--out", "new", "--overwrite"],
    "fit": ["fit", "--data", "x.csv", "--out", "new"],
    "sample": ["sample", "model", "--out", "new.npz"],
    "encode": ["encode", "model", "--data", "x.csv", "--out", "new.npz"],
    "impute": ["impute", "model", "--data", "x.csv", "--out", "new.csv"],
    "forecast": ["forecast", "model", "--data", "x.csv", "--horizon", "3", "--out", "new.csv"],
    "anomalies": ["anomalies", "model", "--data", "x.csv", "--out", "new.csv"],
    "evaluate": ["evaluate", "x.npz", "--data", "x.csv", "--out", "new"],
}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_read_only_place_is_one_line_before_any_work(
    command: str,
    number: int,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read_only(path: Any, *rest: Any) -> Any:
        raise OSError(number, os.strerror(number), str(path))

    def work(*rest: Any, **options: Any) -> Any:
        pytest.fail("something was read before the place was asked for")

    monkeypatch.setattr(_reading, "load_dataset", work)
    monkeypatch.setattr(SSLTokenizer, "load", work)
    monkeypatch.setattr(SSLTokenizer, "fit", work)
    monkeypatch.setattr(outputs, "open", read_only, raising=False)
    monkeypatch.chdir(tmp_path)
    pathlib.Path("x.csv").write_text("t0,t1,label\n" + "1,2,a\n" * 9)
    assert os.strerror(number) in refused(COMMANDS[command], capsys)
    assert os.listdir() == ["x.csv"]
