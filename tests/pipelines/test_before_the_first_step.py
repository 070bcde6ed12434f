"""Whatever makes a run raise makes it raise before its first step, and leaves the folder alone."""

import functools
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from ssltok.data import Dataset
from ssltok.pipelines import (
    ArtifactError,
    Config,
    DecodingConfig,
    PriorConfig,
    SSLTokenizer,
    run,
)
from ssltok.quantizers import FSQ
from ssltok.training import SupCon, TrainingConfig
from tests.pipelines.small import series, small, varied

LABELS = ["a", "b"] * 6
UNHASHABLE: list[Any] = [[0], [1]] * 6
GOOD = Dataset("waves", series(12), LABELS, series(8, seed=1), LABELS[:8])


class Trial(NamedTuple):
    """A run that must be refused: its data, config and options, and what is in its folder."""

    data: Dataset = GOOD
    config: Callable[[], Config] = small
    options: dict[str, Any] = {}  # noqa: RUF012  never changed
    prepare: Callable[[pathlib.Path], pathlib.Path | None] = lambda out: None


def holding(*names: str) -> Callable[[pathlib.Path], None]:
    """A folder that is there and holds these files."""

    def prepare(out: pathlib.Path) -> None:
        for name in names:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text("mine")

    return prepare


def a_file(out: pathlib.Path) -> None:
    out.write_text("mine")


def below_a_file(out: pathlib.Path) -> pathlib.Path:
    out.write_text("mine")
    return out / "deep" / "run"


def long_name(out: pathlib.Path) -> pathlib.Path:
    return out.with_name("x" * 300)


def no_such_place(out: pathlib.Path) -> pathlib.Path:
    return pathlib.Path("/proc/run")


def trained(**changes: Any) -> Callable[[], Config]:
    """The small config with another training of stage 1."""
    return lambda: varied(
        small(), tokenizer_training=TrainingConfig(**{"steps": 3, "batch": 6, **changes})
    )


def ending_early() -> Any:
    x = series(12)
    x[3, :, 5:] = np.inf
    return x


TRIALS: dict[str, Trial] = {
    "no series": Trial(GOOD._replace(train=series(0))),
    "too few to spare a test part": Trial(Dataset("few", series(4), None, None, None)),
    "too few test series": Trial(GOOD._replace(test=series(3), test_labels=LABELS[:3])),
    "one training series": Trial(GOOD._replace(train=series(1), train_labels=["a"])),
    "infinite values": Trial(GOOD._replace(train=ending_early())),
    "infinite values in the test part": Trial(GOOD._replace(test=ending_early())),
    "other channels in the test part": Trial(GOOD._replace(test=series(8, channels=2))),
    "series of 5 samples": Trial(GOOD._replace(train=series(12, length=5))),
    "texts as series": Trial(GOOD._replace(train=[["x"] * 33] * 12)),
    "labels too few": Trial(GOOD._replace(train_labels=LABELS[:5])),
    "test labels too few": Trial(GOOD._replace(test_labels=LABELS[:5])),
    "test labels alone": Trial(GOOD._replace(train_labels=None)),
    "a class only in the test part": Trial(GOOD._replace(test_labels=[*LABELS[:7], "c"])),
    "labels of other types": Trial(GOOD._replace(test_labels=[0, 1] * 4)),
    "labels that cannot be written": Trial(
        GOOD._replace(train_labels=[(0,), (1,)] * 6, test_labels=[(0,), (1,)] * 4)
    ),
    "labels without a JSON": Trial(
        GOOD._replace(train_labels=[0.0, np.inf] * 6, test_labels=[0.0, np.inf] * 4)
    ),
    "unhashable labels": Trial(GOOD._replace(train_labels=UNHASHABLE)),
    "negative budget": Trial(options={"evaluator_steps": -1}),
    "out is a file": Trial(prepare=a_file),
    "out below a file": Trial(prepare=below_a_file),
    "out of a name too long": Trial(prepare=long_name),
    "out where nothing can be made": Trial(prepare=no_such_place),
    "out holds something else": Trial(prepare=holding("notes.txt")),
    "out holds somebody's metrics": Trial(
        prepare=holding("metrics.json"), options={"overwrite": True}
    ),
    "out holds somebody's checkpoints": Trial(
        prepare=holding("checkpoints/epoch_1.pt"), options={"overwrite": True}
    ),
    "out holds somebody's unfinished": Trial(prepare=holding("unfinished/thesis.tex")),
    "out holds another marker": Trial(prepare=holding("unfinished/run.json", "unfinished/x")),
    "batch no multiple of accumulation times processes": Trial(
        config=trained(accumulation=5, batch=15, holdout_ratio=0.01)
    ),
    "nothing to hold out": Trial(config=trained(holdout_ratio=0.01, patience=1)),
}
TRIALS |= {
    f"a supervised objective without labels: {word}": Trial(
        GOOD._replace(train_labels=None, test_labels=None),
        config=functools.partial(small, ssl=word),
    )
    for word in ("supcon", "multi_similarity", "labelled_nt_xent")
}


def everything(folder: pathlib.Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """No optimizer may step, and no codebook start: a trial that gets so far has failed."""

    def stepped(*_: Any, **__: Any) -> None:
        pytest.fail("training began")

    monkeypatch.setattr(torch.optim.AdamW, "step", stepped)


@pytest.mark.parametrize("name", TRIALS)
def test_a_bad_run_is_refused_before_its_first_step(
    name: str, tmp_path: pathlib.Path, no_step: None
) -> None:
    trial = TRIALS[name]
    out = tmp_path / "run"
    out = trial.prepare(out) or out
    before = everything(tmp_path)
    with pytest.raises((ValueError, TypeError, OSError)) as said:
        run(trial.data, trial.config(), out, progress=False, cpu=True,
            **{"evaluator_steps": 0, **trial.options})  # fmt: skip
    assert everything(tmp_path) == before
    assert "\n" not in str(said.value)


class Loose(torch.nn.Module):
    """An objective that asks its encoder for what it has not."""

    views = 2

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.head = torch.nn.Linear(7, 3)

    def draw(self, cases: int, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        return ()

    def forward(self, encoder: torch.nn.Module, batch: Any) -> Any:
        return self.head(encoder(batch.views[0], batch.valid))

    def update(self, encoder: torch.nn.Module, memory: tuple[torch.Tensor, ...]) -> None: ...


class Wide(torch.nn.Module):
    """An encoder that promises one width and gives another."""

    def __init__(self, *_: Any, dim: int, **__: Any) -> None:
        super().__init__()
        self.dim, self.grid = dim, (4,)
        self.net = torch.nn.Linear(1, 1)

    def forward(self, x: torch.Tensor, valid: Any = None) -> torch.Tensor:
        return torch.zeros(len(x), self.dim + 1, 4)


PARTS: dict[str, tuple[dict[str, Any], Any]] = {
    "an objective of another width": ({"objective": Loose}, LABELS),
    "supervised without labels": ({"objective": functools.partial(SupCon, projector_dim=8)}, None),
    "a view of another length": (
        {"augment": lambda x, *, valid, generator: x[..., :-3]}, LABELS,
    ),
    "a view that is none": ({"augment": lambda x, *, valid, generator: None}, LABELS),
    "a decoder of another length": (
        {"decoder": lambda *args, **kwargs: torch.nn.Identity()}, LABELS,
    ),
    "a quantizer of another width": (
        {"quantizer": FSQ([3] * 5), "encoder": functools.partial(Wide, dim=8)}, LABELS,
    ),
    "a mask that is none": ({"mask": lambda shape, *, valid, generator: None}, LABELS),
    "a token loss that is none": ({"token_loss": lambda *args: None}, LABELS),
    "a sampling that is none": ({"sampling": lambda *args, **kwargs: None}, LABELS),
    "views for nobody": ({"compared": (0, 1, 2)}, LABELS),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_parts_that_do_not_fit_are_refused_before_the_first_step(
    name: str, tmp_path: pathlib.Path, no_step: None
) -> None:
    parts, labels = PARTS[name]
    model = SSLTokenizer(small(), checkpoints=tmp_path / "kept", cpu=True, **parts)
    noise = torch.get_rng_state()
    with pytest.raises((ValueError, TypeError)) as said:
        model.fit(series(12), labels)
    assert "\n" not in str(said.value)
    assert torch.equal(noise, torch.get_rng_state())
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("stage", ["tokenizer", "prior"])
def test_a_file_in_the_place_of_checkpoints_is_seen_first(
    stage: str, tmp_path: pathlib.Path, no_step: None
) -> None:
    (tmp_path / stage).write_text("mine")
    with pytest.raises(OSError, match=r"^fit: checkpoints must not lie below a file; got .*"):
        SSLTokenizer(small(), checkpoints=tmp_path, cpu=True).fit(series(12))
    assert everything(tmp_path) == {stage: b"mine"}


def test_a_disk_that_cannot_hold_the_checkpoints_is_seen_first(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, no_step: None
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=2**16)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(OSError, match=r"^fit: the disk must have room for the checkpoints of bot"):
        run(GOOD, small(), tmp_path / "run", progress=False, evaluator_steps=0, cpu=True)
    assert everything(tmp_path) == {}


def test_a_disk_that_is_full_is_seen_first(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, no_step: None
) -> None:
    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"^run: out must be a place that can be written; .*No space"):
        run(GOOD, small(), tmp_path / "run", progress=False, evaluator_steps=0, cpu=True)
    assert everything(tmp_path) == {}


@pytest.mark.parametrize(
    ("parts", "kind"),
    [({"tokenizer.branches.7.encoder": torch.nn.Identity()}, ValueError), ({"x.y": 1}, ValueError)],
)
def test_parts_that_nothing_asks_for_are_refused(
    parts: dict[str, Any], kind: type[Exception], tmp_path: pathlib.Path
) -> None:
    model = SSLTokenizer(small(1), cpu=True).fit(series(12)).save(tmp_path / "model")
    with pytest.raises(kind):
        SSLTokenizer.load(model, parts=parts)


def test_a_part_that_is_missing_is_named(tmp_path: pathlib.Path) -> None:
    class Mine(torch.nn.Identity):
        pass

    model = SSLTokenizer(small(1), cpu=True, pool=None).fit(series(12))
    tokenizer: Any = model.artifact_.tokenizer
    tokenizer.parts[0].encoder = torch.nn.Sequential(tokenizer.parts[0].encoder, Mine())
    with pytest.raises(ArtifactError, match=r"Sequential|Mine|parts"):
        SSLTokenizer.load(model.save(tmp_path / "model"))


def test_sizes_that_do_not_fit_are_refused_before_the_first_step(
    tmp_path: pathlib.Path, no_step: None
) -> None:
    """A prior whose width its heads cannot share is seen before stage 1 is trained."""
    bads: tuple[Callable[[], Config], ...] = (
        lambda: varied(small(), prior=PriorConfig(dim=15, depth=1, high_dim=15, high_depth=1)),
        lambda: varied(small(), decoding=DecodingConfig(steps=0)),
        lambda: small(codebook_size=2**20 + 1, dim=1),
    )
    for bad in bads:
        with pytest.raises((ValueError, TypeError)):
            run(GOOD, bad(), tmp_path / "run", progress=False, evaluator_steps=0, cpu=True)
        assert everything(tmp_path) == {}


def test_test_series_longer_than_training_are_a_matter_of_length(tmp_path: pathlib.Path) -> None:
    long = GOOD._replace(test=series(8, length=40, seed=1))
    report = run(long, small(1), tmp_path / "run", progress=False, evaluator_steps=0, cpu=True)
    model = SSLTokenizer.load(tmp_path / "run" / "model")
    assert model.artifact_.tokenizer.length == 40
    assert model.encode(long.test).shape[0] == 8
    assert set(model.artifact_.lengths.tolist()) == {33}, "new series are as long as those learned"
    assert "filled by straight lines, ends held" in report["spectral distance"].note


def test_length_pads_and_reads_no_value() -> None:
    longer = SSLTokenizer(small(1), length=40, cpu=True).fit(series())
    assert longer.artifact_.tokenizer.length == 40
    padded = np.pad(series(), ((0, 0), (0, 0), (0, 7)), constant_values=np.nan)
    again = SSLTokenizer(small(1), length=40, cpu=True).fit(padded)
    assert (longer.sample(2) == again.sample(2)).sum() == 2 * 33
    with pytest.raises(ValueError, match=r"series must have at most 20 samples"):
        SSLTokenizer(small(1), length=20, cpu=True).fit(series())
    for bad in (0, -3, 2.5, True):
        with pytest.raises(ValueError, match=r"^SSLTokenizer: length must be an integer >= 1, or"):
            SSLTokenizer(small(1), length=bad, cpu=True).fit(series())  # type: ignore[arg-type]


def test_the_rehearsal_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssltok.pipelines import _fit

    whole = SSLTokenizer(small(2), cpu=True).fit(series(), ["a", "b"] * 5).sample(2, "a")
    monkeypatch.setattr(_fit, "rehearse", lambda *args, **kwargs: 0)
    without = SSLTokenizer(small(2), cpu=True).fit(series(), ["a", "b"] * 5).sample(2, "a")
    assert (whole == without).all()
