"""The study of imputation: its protocol by hand, its rows, and that a row is made once."""

import csv
import datetime
import pathlib

import numpy as np
import pytest
from benchmarks.studies import imputation as study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Twenty months of a file like ETTh1, every fifth hour of it: quick."""
    where = tmp_path_factory.mktemp("ett")
    random = np.random.default_rng(0)
    first = datetime.datetime(2016, 7, 1)
    times = [first + datetime.timedelta(hours=5 * hour) for hour in range(20 * 730 // 5)]
    waves = np.sin(np.arange(len(times))[:, None] / np.arange(2, 9)) + np.arange(7)
    with open(where / "ETTh1.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["date", *"abcdefg"])
        for time, row in zip(times, waves + 0.1 * random.normal(size=waves.shape), strict=True):
            table.writerow([time, *row])
    return where


def test_months_and_scale(folder: pathlib.Path) -> None:
    train, validation, test = study.cut(folder / "ETTh1.csv")
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(train.std(0), 1)
    assert validation.shape[1:] == test.shape[1:] == (7, 48)
    days = 31 + 30 + 31 + 30 + 31  # September 2017 is the fifteenth month, to January 2018
    assert len(validation) == pytest.approx((days - 0) * 24 / 5 / 48, abs=1)
    windows = study.training_windows(train)
    np.testing.assert_array_equal(windows[1], train[24:72].T)


def test_gaps_are_those_of_their_names() -> None:
    windows = np.zeros((72, 7, 48))
    shares = {"point 10 %": 0.1, "point 50 %": 0.5, "point 90 %": 0.9, "sub-sequence": 0.5,
              "block": 0.49}  # fmt: skip
    for pattern, share in shares.items():
        gone = study.hide(windows, pattern, 0)
        assert gone.mean() == pytest.approx(share, abs=0.015), pattern
        assert (gone != study.hide(windows, pattern, 1)).any()
        np.testing.assert_array_equal(gone, study.hide(windows, pattern, 0))
    stretches = study.hide(windows, "sub-sequence", 0).sum(-1)
    assert set(stretches.ravel().tolist()) == {0, 36}
    blocks = study.hide(windows, "block", 0)
    assert blocks[:, 1:6].any((0, 2)).all()
    for column in blocks.transpose(0, 2, 1)[blocks.any(1)]:
        assert column[1:6].all(), "a block is six channels wide"


def test_rows_are_made_once_and_the_table_has_them(
    folder: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(study, "LEAST", 2)
    few = {name: study.PATTERNS[name] for name in ("point 50 %", "block")}
    monkeypatch.setattr(study, "PATTERNS", few)
    small = {"dim": 8, "blocks": 0, "codebook_size": 8}
    monkeypatch.setattr(study, "TOKENIZER", study.TOKENIZER | small)
    arguments = ["--data", str(folder), "--out", str(tmp_path / "rows.csv"), "--seeds", "3",
                 "--minutes", "0.001"]  # fmt: skip
    study.main(arguments)
    written = (tmp_path / "rows.csv").read_bytes()
    shown = capsys.readouterr().out
    study.main(arguments)
    assert (tmp_path / "rows.csv").read_bytes() == written
    assert capsys.readouterr().out == shown
    with open(tmp_path / "rows.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * len(study.PATTERNS)
    assert all(np.isfinite(float(row["mae"])) for row in rows)
    for words in ("| linear |", "| SAITS, published |", "0.223 / 0.107", "| block |"):
        assert words in shown
