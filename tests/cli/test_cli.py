"""The command, as its user types it."""

import json
import pathlib
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ssltok.cli import _evaluate as _evaluate_command
from ssltok.cli import main
from ssltok.metrics import codebook_correlation
from ssltok.pipelines import SSLTokenizer
from tests.pipelines.small import series

SMALL = [
    "--steps", "2", "--tokenizer.dim", "8", "--tokenizer.blocks", "1", "--tokenizer.codebook-size",
    "6", "--tokenizer.projector-dim", "12", "--prior.dim", "16", "--prior.depth", "1", "--quiet",
]  # fmt: skip


QUICK = [*SMALL, "--evaluator-steps", "3"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "waves.npz"
    y = np.array(["low", "high"] * 6)
    np.savez(path, X_train=series(12), y_train=y, X_test=series(12, seed=1), y_test=y)
    return str(path)


@pytest.fixture(scope="module")
def model(data: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("fit") / "model"
    main(["fit", "--data", data, "--out", str(out), *SMALL])
    return str(out)


def test_run_writes_everything(
    data: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    main(["run", "--data", data, "--out", str(out), "--seed", "3", *QUICK])
    said = capsys.readouterr().out
    assert f"report: {out / 'report.html'}" in said
    assert sorted(p.name for p in out.iterdir()) == [
        "figures", "metrics.json", "model", "report.html", "samples.npz", "tensorboard",
    ]  # fmt: skip
    numbers = json.loads((out / "metrics.json").read_text())
    assert numbers["seed"] == 3
    for name in ("train_on_generated_test_on_real", "train_on_real_test_on_real"):
        assert 0 <= numbers[name] <= 1
    for view in ("tokens", "pooled"):
        assert set(numbers[f"probe_{view}"]) == {"linear", "svm", "knn"}
    for part in ("test", "train"):
        assert list(numbers["prior_loss"][part]) == ["0.1", "0.25", "0.5", "0.75", "0.9", "1"]
    with np.load(out / "samples.npz", allow_pickle=False) as samples:
        assert samples["series"].shape[1:] == (1, 33)
        assert set(samples["labels"]) == {"low", "high"}
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 5
    assert not re.search(r"(src|href)=\"(?!data:)", page), "the page needs nothing else"
    with pytest.raises(SystemExit):
        main(["run", "--data", data, "--out", str(out), *QUICK])
    assert "run: out must be new" in capsys.readouterr().err
    main(["run", "--data", data, "--out", str(out), "--overwrite", *QUICK])


def test_run_without_labels_and_without_a_test_part(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "x.npy", series(12))
    main(["run", "--data", str(tmp_path / "x.npy"), "--out", str(tmp_path / "run"), *SMALL])
    numbers = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "probe_tokens" not in numbers
    assert numbers["prior_loss"]["test"]["1"] > 0
    assert numbers["reconstruction"]["mse"] > 0


@pytest.mark.parametrize("ending", ["npy", "npz", "csv"])
def test_sample(model: str, tmp_path: pathlib.Path, ending: str) -> None:
    out = tmp_path / f"new.{ending}"
    main(["sample", model, "--n", "3", "--label", "low", "--seed", "2", "--out", str(out)])
    if ending == "csv":
        found = np.loadtxt(out, delimiter=",")[:, None]
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
        assert found["embeddings_test"].shape == (12, 8)


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


def test_each_branch_has_codes_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    books = [torch.eye(5), 2 * torch.eye(5)]
    parts = [SimpleNamespace(quantizer=SimpleNamespace(codebook=book)) for book in books]
    tokenizer = SimpleNamespace(codebook_size=5, sizes=(2, 1), parts=parts)
    stub = SimpleNamespace(
        artifact_=SimpleNamespace(tokenizer=tokenizer),
        encode=lambda x: np.array([[0, -1, 4]]) + x,
    )
    monkeypatch.setattr(SSLTokenizer, "load", lambda _: stub)
    tokens = _evaluate_command._tokens(pathlib.Path("model"), 0, 0, np.array([[4, 0, -4]]))
    assert torch.as_tensor(tokens.train).tolist() == [[0, -1, 9]]
    assert torch.as_tensor(tokens.generated).tolist() == [[4, -1, 5]]
    assert tokens.codebook_size == 10
    assert torch.equal(torch.as_tensor(tokens.codebook), torch.cat(books))


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


def test_info(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["info", model])
    said = json.loads(capsys.readouterr().out)
    assert said["classes"] == ["high", "low"]
    assert said["length"] == 33


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit", "--data", "nowhere.npz", *SMALL], r"ssltok: load_dataset: the file must exist"),
        (
            ["info", "nowhere"],
            r"ssltok: nowhere: must be a whole ssltok folder; got no such folder",
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
    assert all(name in said for name in ("run", "fit", "sample", "encode", "evaluate", "info"))
