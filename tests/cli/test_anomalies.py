"""`ssltok anomalies`: a table of scores, the same as the estimator's."""

import pathlib

import numpy as np
import pytest

from ssltok.cli import main
from ssltok.pipelines import SSLTokenizer
from tests.cli.words import SMALL
from tests.pipelines.small import series


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("fit")
    np.save(folder / "x.npy", series(12))
    main(["fit", "--data", str(folder / "x.npy"), "--out", str(folder / "model"), *SMALL])
    return str(folder / "model")


def table(path: pathlib.Path) -> list[list[float]]:
    header, *lines = path.read_text().splitlines()
    assert header == "series,time,score,unusual"
    return [[float(word) for word in line.split(",")] for line in lines]


def test_the_test_part_is_scored_and_the_training_part_gives_the_threshold(
    model: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test, out = series(4), series(3, length=45, seed=1), tmp_path / "scores.csv"
    np.savez(tmp_path / "x.npz", X_train=train, X_test=test)
    words = ["anomalies", model, "--data", str(tmp_path / "x.npz"), "--out", str(out)]
    main([*words, "--quantile", "0.4", "--stride-ratio", "0.5"])
    expected = SSLTokenizer.load(model).score_anomalies(
        test, train=train, quantile=0.4, stride_ratio=0.5
    )
    rows = table(out)
    assert [row[:2] for row in rows] == [[case, time] for case in range(3) for time in range(45)]
    np.testing.assert_allclose([r[2] for r in rows], expected.scores.ravel(), rtol=1e-5)
    assert [row[3] for row in rows] == (expected.scores > expected.threshold).ravel().tolist()
    assert f"threshold of {expected.threshold:.4g}: {out}" in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "anomalies: out must be a new file" in capsys.readouterr().err


def test_without_a_test_part_it_says_whose_threshold_it_is(
    model: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", series(2, length=60))
    out = tmp_path / "s.csv"
    words = ["anomalies", model, "--data", str(tmp_path / "x.npy"), "--out", str(out)]
    main(words)
    said = capsys.readouterr().out
    assert "the threshold is the model's own: 0.99 of the samples of its training series" in said
    expected = SSLTokenizer.load(model).score_anomalies(series(2, length=60))
    assert f"threshold of {expected.threshold:.4g}" in said
    assert [r[3] for r in table(out)] == (expected.scores > expected.threshold).ravel().tolist()
    main([*words, "--overwrite", "--stride-ratio", "0.5"])
    said = capsys.readouterr().out
    assert "no threshold for these options, so it is of the series that are scored: 0.01" in said
    assert sum(row[3] for row in table(out)) == pytest.approx(0.01 * 120, abs=1)


def test_a_log_keeps_its_dates(model: str, tmp_path: pathlib.Path) -> None:
    log, out = tmp_path / "log.csv", tmp_path / "s.csv"
    values = series(1, length=50)[0, 0]
    days = np.datetime64("2024-02-27") + np.arange(50)
    log.write_text("\n".join(["day,x", *(f"{d},{v}" for d, v in zip(days, values, strict=True))]))
    main(["anomalies", model, "--data", str(log), "--out", str(out)])
    times = [line.split(",")[1][:10] for line in out.read_text().splitlines()[1:]]
    assert times == [str(day) for day in days]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--quantile", "1.5"], "quantile must lie in [0, 1]; got 1.5"),
        (["--stride-ratio", "0"], "stride_ratio must lie in (0, 1]; got 0"),
        (["--out", "scores.npz"], "anomalies: out must end in .csv; got scores.npz"),
    ],
)
def test_it_refuses(
    model: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, words: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", series(2))
    with pytest.raises(SystemExit) as left:
        main(["anomalies", model, "--data", "x.npy", *words])
    assert left.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
