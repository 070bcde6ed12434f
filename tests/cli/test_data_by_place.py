"""`ssltok run mine.csv` is `ssltok run --data mine.csv`, and so for each command with data."""

import inspect
import pathlib
import typing

import pytest

from ssltok.cli import main
from ssltok.cli._commands import MODELS, Command, _plain_data


@pytest.mark.parametrize(
    ("words", "plain"),
    [
        ("run mine.csv", "run --data mine.csv"),
        ("fit mine.csv --out m", "fit --data mine.csv --out m"),
        ("encode general mine.csv --out t", "encode general --data mine.csv --out t"),
        ("encode --model general mine.csv", "encode general --data mine.csv"),
        ("encode --model general --data mine.csv", "encode general --data mine.csv"),
        ("impute m mine.csv", "impute m --data mine.csv"),
        ("forecast m mine.csv --horizon 4", "forecast m --data mine.csv --horizon 4"),
        ("anomalies m mine.csv", "anomalies m --data mine.csv"),
        ("evaluate new.npz mine.npz", "evaluate new.npz --data mine.npz"),
    ],
)
def test_data_may_be_named_by_their_place(words: str, plain: str) -> None:
    assert _plain_data(words.split()) == plain.split()
    assert _plain_data(plain.split()) == plain.split()


@pytest.mark.parametrize(
    "words", ["", "run", "run --steps 3", "encode general", "info m", "sample m 3", "run --help",
              "run mine.csv --data other.csv", "run mine.csv --data=other.csv", "encode --model"],
)  # fmt: skip
def test_other_words_stay(words: str) -> None:
    assert _plain_data(words.split()) == words.replace("--model", "").split()


def test_every_command_with_data_is_there() -> None:
    commands = {}
    for option in typing.get_args(Command):
        kind, named = typing.get_args(option)
        commands[named.name] = inspect.signature(kind).parameters
    assert {name for name, fields in commands.items() if "data" in fields} == set(MODELS)


def test_two_data_sets_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "one.csv", "--data", "two.csv"])
    assert "Unrecognized options: one.csv" in capsys.readouterr().err


def test_a_file_by_its_place_is_read(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.csv").write_text("")
    with pytest.raises(SystemExit):
        main(["run", str(tmp_path / "mine.csv"), "--out", str(tmp_path / "run")])
    assert "mine.csv': must hold rows; got an empty file" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
