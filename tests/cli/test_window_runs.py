"""`--window` and `--source`: killed in each stage, on two processes, and beside memory."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from ssltok.cli import main
from ssltok.pipelines import SSLTokenizer
from ssltok.pipelines._large import _measured
from tests.cli.test_safety import NAME, QUICK, SMALL, STATUS, owner_of, refused, sends

LOG = ["--layout", "time_in_rows", "--window", "16", "--stride", "8"]
STAGES = [
    ("torch.optim.AdamW.step", 1),
    ("ssltok.training._checkpoints.pack_state", 0),
    ("ssltok.pipelines._fit.encode_rows", 0),
    ("ssltok.pipelines._fit.build_prior", 0),
    ("torch.optim.AdamW.step", 1),
    ("ssltok.pipelines._generate.decode_tokens", 0),
    ("ssltok.pipelines._run.write_draws", 1),
    ("ssltok.evaluation._report.build_page", 0),
]
RESULTS = ("samples.csv", "forecast.csv", "samples.npz", "model/model.safetensors")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A long series of two channels, a row a time, with a gap that ends a window."""
    walk = np.random.default_rng(0).normal(size=(400, 2)).cumsum(0).astype(np.float32)
    walk[195:200] = np.nan
    file = tmp_path_factory.mktemp("log") / "log.npy"
    np.save(file, walk)
    return str(file)


def same(a: pathlib.Path, b: pathlib.Path) -> None:
    for name in RESULTS:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    rows = [json.loads((folder / "metrics.json").read_text())["rows"] for folder in (a, b)]
    assert rows[0] == rows[1]


def test_a_windowed_run_that_is_stopped_in_each_stage_ends_with_the_same_bits(
    log: str,
    light: None,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And those of a source are those of the same rows in memory."""

    def words(name: str, source: str = "False") -> list[str]:
        return ["run", "--data", log, *LOG, "--source", source, "--out", str(tmp_path / name),
                *QUICK]  # fmt: skip

    main(words("calm"))
    for source, stages in (("False", STAGES), ("True", STAGES[::4])):
        for turn, (place, after) in enumerate(stages):
            number = (signal.SIGINT, signal.SIGTERM)[turn % 2]
            owner, name = owner_of(place)
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, sends(number, getattr(owner, name), after=after))
                error = refused(words(source, source), capsys, STATUS[number])
            assert f"stopped by {NAME[number]}" in error, place
            assert os.listdir(tmp_path / source) == ["unfinished"], place
        main(words(source, source))
        same(tmp_path / "calm", tmp_path / source)
    said = capsys.readouterr().out
    assert "1 series of 400 samples x 2 channels, no label; 0.000 GiB, read from the file" in said
    assert pathlib.Path(f"{log}.ssltok").is_file()  # what the pass found out


def test_a_run_of_a_source_says_on_how_many_series_it_measures(
    light: None, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.feather as feather

    x = np.random.default_rng(0).normal(size=(30, 16)).cumsum(1)
    labels = ["rare", *["many"] * 29]
    table = pa.table({"wave": list(x), "label": labels})
    feather.write_feather(table, tmp_path / "x.arrow", compression="uncompressed")
    monkeypatch.setattr(_measured, "MOST", 5)
    main(["run", "--data", str(tmp_path / "x.arrow"), "--source", "True", "--out",
          str(tmp_path / "run"), *QUICK])  # fmt: skip
    report = json.loads((tmp_path / "run" / "metrics.json").read_text())
    words = "a random sample of 5 of 24 training and 5 of 6 test series"
    assert report["about"]["sample"] == words
    assert report["rows"]
    assert all(words in row["note"] for row in report["rows"])
    page = (tmp_path / "run" / "report.html").read_text()
    assert "24 series trained on" in page
    assert words in page


RUNS = [("fit", "windows of a source")]
if os.environ.get("SSLTOK_ALL"):  # each starts two processes, and measures at length
    RUNS += [("run", kind) for kind in ("windows", "a source", "windows of a source")]


@pytest.mark.parametrize(("command", "kind"), RUNS)
def test_the_documented_line_on_two_processes(
    command: str, kind: str, log: str, tmp_path: pathlib.Path
) -> None:
    """`torchrun --standalone --nproc-per-node 2 -m ssltok ...`, as the guides write it."""
    waves = tmp_path / "waves.npy"
    np.save(waves, np.random.default_rng(1).normal(size=(40, 1, 16)).cumsum(2))
    words = {
        "windows": ["--data", log, *LOG, "--source", "False"],
        "a source": ["--data", str(waves), "--source", "True"],
        "windows of a source": ["--data", log, *LOG, "--source", "True"],
    }[kind]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
              "2", "-m", "ssltok", command, *words, "--out", str(tmp_path / "two"),
              *(QUICK if command == "run" else SMALL)]  # fmt: skip
    done = subprocess.run(
        launch, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert not done.returncode, done.stdout + done.stderr
    assert done.stdout.count("report: " if command == "run" else "model: ") == 1
    if command == "run":
        assert (tmp_path / "two" / "forecast.csv").is_file() == ("window" in kind)
    model = SSLTokenizer.load(tmp_path / "two" / ("model" if command == "run" else ""))
    assert np.isfinite(model.sample(3)).all()
