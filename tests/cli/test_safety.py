"""Nothing of the user's is lost, and nothing half-written stays: signals, kills, foreign files."""

import importlib
import json
import os
import pathlib
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ssltok.cli import main
from ssltok.pipelines import SSLTokenizer
from tests.cli import words as options
from tests.pipelines.covering import in_turn
from tests.pipelines.small import series

SMALL = [
    *options.SMALL, "--tokenizer-training.checkpoint-every", "1",
    "--prior-training.checkpoint-every", "1", "--cpu",
]  # fmt: skip
QUICK = [*SMALL, "--evaluator-steps", "0"]
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
NAME = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


def snapshot(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }  # fmt: skip


def sends(number: int, function: Callable[..., Any], *, after: int = 0) -> Callable[..., Any]:
    """The function, but this signal arrives at its first call, or after so many."""
    calls = [0]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == after + 1:
            os.kill(os.getpid(), number)
        return function(*args, **kwargs)

    return wrapped


def owner_of(place: str) -> tuple[Any, str]:
    """What holds a name: a module, or a class in one."""
    path, _, name = place.rpartition(".")
    house, _, last = path.rpartition(".")
    if last[:1].isupper():
        return getattr(importlib.import_module(house), last), name
    return importlib.import_module(path), name


def refused(words: list[str], capsys: pytest.CaptureFixture[str], status: int = 2) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert error.startswith("ssltok: ")
    return error


STAGES = [
    ("ssltok.cli._reading.load_dataset", 0),
    ("ssltok.pipelines._fit.rehearse", 0),
    ("torch.optim.AdamW.step", 0),
    ("torch.optim.AdamW.step", 1),
    ("ssltok.training._checkpoints.pack_state", 0),
    ("ssltok.pipelines._fit.encode_rows", 0),
    ("os.fsync", 9),
    ("ssltok.pipelines._generate.decode_tokens", 0),
    ("ssltok.pipelines._run.save_samples", 0),
    ("numpy.savez_compressed", 0),
    ("ssltok.pipelines._run.evaluate", 1),
    ("ssltok.evaluation._evaluate.run_measure", 2),
    ("ssltok.pipelines._uses._run_figures.draw_curves", 0),
    ("ssltok.evaluation._report.build_page", 0),
    ("ssltok.evaluation._report.Report.to_json", 0),
]


def test_a_signal_in_each_stage_of_a_run_leaves_what_the_next_start_needs(
    data: str,
    light: None,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def words(name: str) -> list[str]:
        return ["run", "--data", data, "--out", str(tmp_path / name), *QUICK]

    main(words("calm"))
    for turn, (place, after) in enumerate(STAGES):
        number = (signal.SIGINT, signal.SIGTERM)[turn % 2]
        owner, name = owner_of(place)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, sends(number, getattr(owner, name), after=after))
            error = refused(words("storm"), capsys, STATUS[number])
        assert f"stopped by {NAME[number]}" in error, place
        left = snapshot(tmp_path / "storm") if (tmp_path / "storm").exists() else {}
        assert all(name.startswith("unfinished/") for name in left), place
        assert not [name for name in left if ".tmp-" in name], place
        assert not [name for name in left if name.endswith("lock")], place
    main(words("storm"))
    assert sorted(p.name for p in (tmp_path / "storm").iterdir()) == sorted(
        p.name for p in (tmp_path / "calm").iterdir()
    )
    calm, storm = (SSLTokenizer.load(tmp_path / name / "model") for name in ("calm", "storm"))
    assert (calm.sample(3, "low") == storm.sample(3, "low")).all()
    first, second = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("calm", "storm")
    )
    assert first["rows"] == second["rows"]


def test_a_signal_amid_the_swap_waits_until_it_is_done(
    data: str, light: None, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssltok.pipelines._folders._place import Place

    monkeypatch.setattr(Place, "publish", sends(signal.SIGTERM, Place.publish))
    with pytest.raises(SystemExit) as ended:
        main(["run", "--data", data, "--out", str(tmp_path / "run"), *QUICK])
    assert ended.value.code == 143
    assert (tmp_path / "run" / "metrics.json").is_file()
    assert not (tmp_path / "run" / "unfinished").exists()


STOPPED = [
    (["sample", "{model}", "--out", "{out}.npy"], "numpy", "save"),
    (["sample", "{model}", "--out", "{out}.npz"], "numpy", "savez_compressed"),
    (["sample", "{model}", "--out", "{out}.csv"], "os", "fsync"),
    (["encode", "{model}", "--data", "{data}", "--out", "{out}.npz"], "numpy",
     "savez_compressed"),
    (["anomalies", "{model}", "--data", "{data}", "--out", "{out}.csv"], "os", "fsync"),
    (["evaluate", "{data}", "--data", "{data}", "--steps", "0", "--quiet", "--out", "{out}"],
     "ssltok.evaluation._evaluate", "run_measure"),
    (["evaluate", "{data}", "--data", "{data}", "--steps", "0", "--quiet", "--out", "{out}"],
     "pathlib.Path", "write_bytes"),
    (["fit", "--data", "{data}", "--out", "{out}", *SMALL], "ssltok.pipelines._fit",
     "rehearse"),
]  # fmt: skip


@pytest.mark.parametrize(("stopped", "number"), in_turn(STOPPED, STATUS))
def test_a_stopped_command_leaves_nothing(
    stopped: tuple[list[str], str, str],
    number: int,
    data: str,
    model: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, place, name = stopped
    owner, _ = owner_of(f"{place}.{name}")
    monkeypatch.setattr(owner, name, sends(number, getattr(owner, name)))
    filled = [word.format(model=model, data=data, out=tmp_path / "out") for word in words]
    assert NAME[signal.Signals(number)] in refused(filled, capsys, STATUS[signal.Signals(number)])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(
    data: str,
    model: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = [0]

    def full(handle: int) -> None:
        calls[0] += 1
        if calls[0] > 1:  # the first is the question before the work
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for words in (
        ["sample", model, "--out", str(tmp_path / "x.npy")],
        ["sample", model, "--out", str(tmp_path / "x.csv")],
        ["encode", model, "--data", data, "--out", str(tmp_path / "x.npz")],
        ["anomalies", model, "--data", data, "--out", str(tmp_path / "x.csv")],
        ["fit", "--data", data, "--out", str(tmp_path / "model"), *SMALL],
        ["run", "--data", data, "--out", str(tmp_path / "run"), *QUICK],
    ):
        calls[0] = 0
        assert "No space left on device" in refused(words, capsys)
        assert snapshot(tmp_path) == {}, words[0]


def test_outputs_never_replace_what_is_there(
    data: str, model: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file.npy").write_text("mine")
    (tmp_path / "file.npz").write_text("mine")
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "link.npy").symlink_to(tmp_path / "nowhere")
    for out, said in (
        ("file.npy", "out must be a new file"), ("folder.npy", "must be a file; got the folder"),
        ("link.npy", "out must be a new file"), ("file.npz/x.npy", "must not lie below a file"),
    ):  # fmt: skip
        assert said in refused(["sample", model, "--out", str(tmp_path / out)], capsys)
    assert "new file" in refused(
        ["encode", model, "--data", data, "--out", str(tmp_path / "file.npz")], capsys
    )
    for command in (["fit", *SMALL], ["evaluate", data]):
        assert "out must be a new folder" in refused(
            [*command, "--data", data, "--out", str(tmp_path / "file.npy")], capsys
        )
    assert snapshot(tmp_path) == {"file.npy": b"mine", "file.npz": b"mine"}
    main(["sample", model, "--out", str(tmp_path / "file.npy"), "--overwrite", "--n", "2"])
    assert np.load(tmp_path / "file.npy").shape == (2, 1, 33)


@pytest.mark.parametrize("n", [0, -5])
def test_a_count_is_reported_as_it_was_given(
    n: int, model: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(["sample", model, "--n", str(n), "--out", str(tmp_path / "x.npy")], capsys)
    assert error == f"ssltok: sample: n must be >= 1; got {n}\n"
    with pytest.raises(ValueError, match=rf"^SSLTokenizer.sample: n must be >= 1; got {n}$"):
        SSLTokenizer.load(model).sample(n)


def test_overwrite_swaps_at_the_end_and_takes_nothing_of_others(
    data: str, light: None, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["run", "--data", data, "--out", str(out), *QUICK]
    main(words)
    first = snapshot(out)
    assert "a finished run" in refused(words, capsys)
    bad = tmp_path / "bad.npy"
    np.save(bad, np.full((20, 33), np.inf))
    refused(["run", "--data", str(bad), "--out", str(out), "--overwrite", *QUICK], capsys)
    assert snapshot(out) == first, "refused data cost the old run"
    (out / "notes.txt").write_text("mine")
    (out / "figures" / "mine.png").write_text("mine")
    assert "figures/mine.png" in refused([*words, "--overwrite"], capsys)
    (out / "figures" / "mine.png").rename(tmp_path / "mine.png")
    main([*words, "--overwrite", "--seed", "1"])
    second = snapshot(out)
    assert second.pop("notes.txt") == b"mine"
    assert json.loads(second["metrics.json"])["about"]["seed"] == 1
    assert not [name for name in second if name.startswith("unfinished")]
    assert set(second) - {n for n in second if "tfevents" in n} == {
        n for n in first if "tfevents" not in n
    }


def test_another_runs_unfinished_work_is_dropped_only_when_asked(
    data: str,
    light: None,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["run", "--data", data, "--out", str(tmp_path / "run"), *QUICK]
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", sends(2, torch.optim.AdamW.step, after=1))
        refused(words, capsys, 130)
    left = snapshot(tmp_path)
    assert "overwrite drops it" in refused([*words, "--seed", "9"], capsys)
    assert snapshot(tmp_path) == left
    main([*words, "--seed", "9", "--overwrite"])
    assert not (tmp_path / "run" / "unfinished").exists()


def test_fit_goes_on_by_itself_after_a_kill(
    data: str,
    model: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["fit", "--data", data, "--out", str(tmp_path / "model"), *SMALL]
    step = torch.optim.AdamW.step
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", sends(signal.SIGTERM, step, after=3))
        refused(words, capsys, 143)
    assert [p.name for p in tmp_path.iterdir()] == ["model.unfinished"]
    steps: list[int] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        steps.append(1)
        return step(*args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    main(words)
    assert len(steps) == 1, "three of four steps were there"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    one, other = SSLTokenizer.load(model), SSLTokenizer.load(tmp_path / "model")
    assert (one.sample(3) == other.sample(3)).all()


def test_somebodys_folder_beside_is_left_alone(
    data: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.unfinished").mkdir()
    (tmp_path / "model.unfinished" / "thesis.tex").write_text("mine")
    words = ["fit", "--data", data, "--out", str(tmp_path / "model"), *SMALL]
    assert "must hold checkpoints alone; got thesis.tex" in refused(words, capsys)
    assert snapshot(tmp_path) == {"model.unfinished/thesis.tex": b"mine"}


def test_divergence_is_one_line_with_what_to_lower(
    data: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--data", data, "--out", str(tmp_path / "run"), *QUICK, "--steps", "60"]
    error = refused(
        [*words, "--tokenizer-training.learning-rate", "1e30", "--tokenizer-training.clip", "0"],
        capsys, 1,
    )  # fmt: skip
    assert "must stay finite" in error
    assert "lower learning_rate (1e+30)" in error
    assert "set clip" in error


def test_a_single_class_runs_to_its_report(tmp_path: pathlib.Path) -> None:
    y = np.array([7] * 12)
    np.savez(tmp_path / "w.npz", X_train=series(12), y_train=y, X_test=series(12), y_test=y)
    out = tmp_path / "run"
    main(["run", "--data", str(tmp_path / "w.npz"), "--out", str(out), *SMALL, "--evaluator-steps",
          "2"])  # fmt: skip
    rows = json.loads((out / "metrics.json").read_text())["rows"]
    assert {row["name"]: row for row in rows}["linear probe on tokens"]["skipped"]
    main(["sample", str(out / "model"), "--label", "7", "--out", str(tmp_path / "s.npz")])
    main(["evaluate", str(tmp_path / "s.npz"), "--data", str(tmp_path / "w.npz"), "--steps", "0",
          "--quiet", "--out", str(tmp_path / "e")])  # fmt: skip
    assert np.load(tmp_path / "s.npz")["y"].tolist() == [7] * 16
