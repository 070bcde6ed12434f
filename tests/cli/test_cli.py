"""The command, as its user types it."""

import enum
import json
import os
import pathlib
import re
from collections.abc import Hashable

import numpy as np
import pytest
import torch

from ssltok.cli import main
from ssltok.cli._commands import HEADLINES
from ssltok.data import Dataset
from ssltok.evaluation import Report, load_samples
from ssltok.metrics import codebook_correlation
from ssltok.pipelines import SSLTokenizer, run, shorten
from tests.cli.words import SMALL
from tests.pipelines.small import series, small

COMMANDS = ("run", "fit", "sample", "encode", "forecast", "impute", "anomalies", "evaluate", "info")
QUICK = [*SMALL, "--evaluator-steps", "3"]


def test_run_writes_everything(
    data: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    main(["run", "--data", data, "--out", str(out), "--seed", "3", *QUICK])
    said = capsys.readouterr().out
    assert f"report: {out / 'report.html'}" in said
    plan = json.loads((out / "plan.json").read_text())
    assert plan["reasons"][-1].endswith(
        f"{plan['seconds']['rest']:.0f} s of start, generation and evaluation, and the networks "
        "that judge"
    )
    assert sorted(p.name for p in out.iterdir()) == [
        "figures", "metrics.json", "model", "plan.json", "report.html", "samples.npz",
        "tensorboard",
    ]  # fmt: skip
    saved = json.loads((out / "metrics.json").read_text())
    assert (saved["about"]["seed"], saved["about"]["dataset"]) == (3, "waves")
    rows = {row["name"]: row for row in saved["rows"]}
    assert len(rows) == len(saved["rows"])
    for name in HEADLINES:
        assert 0 <= rows[name]["value"] <= 1
        assert f"\n{name}: {rows[name]['value']:.4g}" in said
    for view in ("tokens", "mean token"):
        for kind in ("linear probe", "linear SVM", "k-NN"):
            assert 0 <= rows[f"{kind} on {view}"]["value"] <= 1
    for share in (10, 25, 50, 75, 90, 100):
        assert rows[f"loss of the prior, {share} % hidden"]["reference"] > 0
    with np.load(out / "samples.npz", allow_pickle=False) as samples:
        assert samples["X"].shape[1:] == (1, 33)
        assert len(samples["X"]) == len(samples["codes"]) == 200
        assert set(samples["y"]) == {"low", "high"}
    page = (out / "report.html").read_text()
    figures = sorted(path.stem for path in (out / "figures").iterdir())
    assert page.count("data:image/png;base64,") == len(figures) == 12
    assert {
        "a_decoding_trace", "reconstructions", "series_by_class", "training", "unusual_test_series",
    } < set(figures)  # fmt: skip
    assert not re.search(r"(src|href)=\"(?!data:)", page), "the page needs nothing else"
    with pytest.raises(SystemExit):
        main(["run", "--data", data, "--out", str(out), *QUICK])
    assert "run: out must be new" in capsys.readouterr().err
    main(["run", "--data", data, "--out", str(out), "--overwrite", *QUICK])


def test_run_without_labels_and_without_a_test_part(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "x.npy", series(22))
    main(["run", "--data", str(tmp_path / "x.npy"), "--out", str(tmp_path / "run"), *QUICK])
    saved = json.loads((tmp_path / "run" / "metrics.json").read_text())
    rows = {row["name"]: row for row in saved["rows"]}
    assert rows["linear probe on tokens"]["skipped"] == "no labels of the training series"
    assert rows["loss of the prior, 100 % hidden"]["value"] > 0
    assert rows["reconstruction MSE"]["value"] > 0
    assert load_samples(tmp_path / "run" / "samples.npz").labels is None


LABELS: list[tuple[Hashable, Hashable]] = [("low", "high"), (0.5, 2.5), (1, 2), (True, False)]


@pytest.mark.parametrize("labels", LABELS if "SSLTOK_ALL" in os.environ else LABELS[:2])
def test_run_and_evaluate_give_the_same_rows_to_the_bit(
    tmp_path: pathlib.Path, labels: tuple[Hashable, Hashable]
) -> None:
    y = np.array(labels * 6)
    data, out = str(tmp_path / "w.npz"), tmp_path / "run"
    np.savez(data, X_train=series(12), y_train=y, X_test=series(12, seed=1), y_test=y)
    main(["run", "--data", data, "--out", str(out), "--seed", "2", "--cpu", *QUICK])
    main(
        ["evaluate", str(out / "samples.npz"), "--data", data, "--model", str(out / "model"),
         "--out", str(tmp_path / "e"), "--seed", "2", "--steps", "3", "--quiet"]
    )  # fmt: skip
    one = json.loads((out / "metrics.json").read_text())
    other = json.loads((tmp_path / "e" / "report.json").read_text())
    assert one["rows"] == other["rows"]
    assert {k: v for k, v in one["about"].items() if k in other["about"]} == other["about"]
    skipped = {row["name"] for row in one["rows"] if row["skipped"]}
    assert not skipped & set(HEADLINES)
    assert [type(v) for v in load_samples(out / "samples.npz").labels or []] == 200 * [
        type(labels[0])
    ]


def test_samples_of_a_label_are_evaluated_as_they_were_written(tmp_path: pathlib.Path) -> None:
    y = np.array([1, 2] * 6)
    data, model = str(tmp_path / "w.npz"), str(tmp_path / "model")
    np.savez(data, X_train=series(12), y_train=y, X_test=series(12, seed=1), y_test=y)
    main(["fit", "--data", data, "--out", model, "--cpu", *SMALL])
    new = tmp_path / "new.npz"
    main(["sample", model, "--n", "5", "--label", "2", "--out", str(new)])
    found = load_samples(new)
    assert found.labels == [2] * 5
    assert np.array_equal(found.series, SSLTokenizer.load(model).sample(5, 2))
    assert found.codes.shape[0] == 5
    main(
        ["evaluate", str(new), "--data", data, "--out", str(tmp_path / "e"), "--steps", "2",
         "--quiet"]
    )  # fmt: skip
    rows = json.loads((tmp_path / "e" / "report.json").read_text())["rows"]
    assert not {r["name"]: r for r in rows}["train on real, test on synthetic"]["skipped"]


def test_what_would_fail_after_training_is_refused_before_it(tmp_path: pathlib.Path) -> None:
    labels: list[Hashable] = [(1, 2), (3, 4)] * 6
    data = Dataset("tuples", series(12), labels, series(12, seed=1), labels)
    kinds = enum.IntEnum("kinds", ["LOW", "HIGH"])  # written as a number, it is no IntEnum again
    for classes in (labels, list(kinds) * 6):
        with pytest.raises(
            TypeError, match=r"^run: labels must be texts, finite numbers or booleans"
        ):
            run(
                data._replace(train_labels=classes, test_labels=classes),
                shorten("demo", steps=1), tmp_path / "run", progress=False,
            )  # fmt: skip
    few = data._replace(test=series(3), test_labels=None, train_labels=None)
    with pytest.raises(ValueError, match=r"real_test must hold at least 4 series; got 3$"):
        run(few, shorten("demo", steps=1), tmp_path / "run", progress=False)
    unknown = data._replace(train_labels=[0, 1] * 6, test_labels=[0, 2] * 6)
    with pytest.raises(ValueError, match=r"test_labels: y must hold known labels"):
        run(unknown, shorten("demo", steps=1), tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match=r"^run: evaluator_steps must be >= 0; got -1$"):
        run(data, shorten("demo", steps=1), tmp_path / "run", evaluator_steps=-1)
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_killed_at_its_last_file_goes_on(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Dataset("waves", series(12), None, series(8, seed=1), None)
    write = Report.to_json

    def killed(report: Report) -> str:
        raise KeyboardInterrupt

    def once_more() -> Report:
        return run(data, small(2), tmp_path / "run", progress=False, evaluator_steps=0, cpu=True)

    monkeypatch.setattr(Report, "to_json", killed)
    with pytest.raises(KeyboardInterrupt):
        once_more()
    monkeypatch.setattr(Report, "to_json", write)
    again = once_more()
    rows = json.loads((tmp_path / "run" / "metrics.json").read_text())["rows"]
    assert [row["name"] for row in rows] == [row.name for row in again.rows]
    assert (tmp_path / "run" / "tensorboard").is_dir()
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("ending", ["npy", "npz", "csv"])
def test_sample(model: str, tmp_path: pathlib.Path, ending: str) -> None:
    out = tmp_path / f"new.{ending}"
    main(["sample", model, "--n", "3", "--label", "low", "--seed", "2", "--out", str(out)])
    if ending == "csv":
        found = np.loadtxt(out, delimiter=",", skiprows=1)[:, None]
        assert np.allclose(load_samples(out).series, found[:, 0], rtol=1e-14)
    else:
        loaded = np.load(out, allow_pickle=False)
        found = loaded["X"] if ending == "npz" else loaded
    assert found.shape == (3, 1, 33)


def test_encode(model: str, data: str, tmp_path: pathlib.Path) -> None:
    main(["encode", model, "--data", data, "--out", str(tmp_path / "t.npz")])
    with np.load(tmp_path / "t.npz") as found:
        assert sorted(found.files) == [
            "codes_test", "codes_train", "embeddings_test", "embeddings_train",
        ]  # fmt: skip
        assert found["embeddings_test"].shape == (12, 64)


def test_evaluate(
    data: str, model: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = series(12, seed=2)
    np.savez(tmp_path / "made.npz", X=made, y=np.array(["low", "high"] * 6))
    main(
        ["evaluate", str(tmp_path / "made.npz"), "--data", data, "--out", str(tmp_path / "e"),
         "--model", model, "--steps", "0", "--quiet"]
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "no test part" not in said
    saved = json.loads((tmp_path / "e" / "report.json").read_text())
    rows = {row["name"]: row for row in saved["rows"]}
    estimator = SSLTokenizer.load(model)
    tokenizer = estimator.artifact_.tokenizer
    used = len(np.unique(estimator.encode(made)))
    assert rows["codebook usage"]["value"] == pytest.approx(used / 6)
    assert rows["codebook usage"]["cases"] == 12
    books = torch.cat([part.quantizer.codebook for part in tokenizer.parts])
    likeness = codebook_correlation(books).pearson.item()
    assert rows["codebook correlation"]["value"] == pytest.approx(likeness)


def test_evaluate_says_when_the_test_part_may_have_been_trained_on(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "all.npy", series(40))
    np.save(tmp_path / "made.npy", series(12, seed=2))
    main(
        ["evaluate", str(tmp_path / "made.npy"), "--data", str(tmp_path / "all.npy"), "--out",
         str(tmp_path / "e"), "--steps", "0", "--quiet"]
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "all.npy has no test part, so a fifth of it stands in" in said
    assert "`ssltok fit`, has seen these series" in said


def test_a_log_from_a_file_to_tokens(
    model: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.csv"
    np.savetxt(path, series(4)[:, 0].T, delimiter=",", header="a,b,c,d", comments="")
    words = ["encode", model, "--data", str(path), "--out", str(tmp_path / "t.npz")]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Reading(layout='time_in_rows') or --layout time_in_rows" in said
    main([*words, "--layout", "time_in_rows", "--window", "16", "--stride", "8", "--drop", "b", "c",
          "d", "--header", "True"])  # fmt: skip
    said = capsys.readouterr().out
    assert f"{path}: 33 times x 1 channel (a), no label, 3 windows of 16 every 8\n" in said
    with np.load(tmp_path / "t.npz") as found:
        assert len(found["codes_train"]) == 3


def test_info(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["info", model])
    said = json.loads(capsys.readouterr().out)
    assert said["classes"] == ["high", "low"]
    assert said["length"] == 33
    main(["info", "general"])
    about = json.loads(capsys.readouterr().out)
    assert about["name"].startswith("general-")
    assert about == SSLTokenizer.from_pretrained("general").about_
    assert f"licence: {about['licence']}" in SSLTokenizer.from_pretrained("general").summary()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit", "--data", "nowhere.npz", *SMALL], r"ssltok: load_dataset: the file must exist"),
        (
            ["info", "nowhere"],
            r"ssltok: from_pretrained: model must be general, .*a folder, .*; got 'nowhere'",
        ),
        (["sample", "{model}", "--out", "x.txt"], r"sample: out must end in .npy, .npz, .csv"),
        (
            ["sample", "{model}", "--label", "mid"],
            r"label must be one of \['high', 'low'\]; got 'mid'",
        ),
        (["sample", "{model}", "--out", "no/where.npy"], r"out must lie in a folder that exists"),
    ],
)
def test_mistakes_are_said_in_a_line(
    model: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([word.format(model=model) for word in words])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert re.search(said, error)
    assert "Traceback" not in error


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in COMMANDS)
