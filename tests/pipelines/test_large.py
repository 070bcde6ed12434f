"""Training on series that stay on disk: the bits of the same series in memory."""

import pathlib
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssltok._shared import portions
from ssltok.data import ArraySource, WindowSource, read_series, read_source
from ssltok.pipelines import SSLTokenizer
from ssltok.pipelines._fit import build_stage_one, encode_series, start_tokenizer
from ssltok.pipelines._large import _encode_rows
from ssltok.pipelines._large._encode_rows import encode_rows
from ssltok.pipelines._stages import tokenizer_stage
from ssltok.pipelines._words._tables import AUGMENTATIONS
from tests.pipelines.small import series, small, varied
from tests.ranks import Ranks


def config(**tokenizer: Any) -> Any:
    base = small(3, **tokenizer)
    changes = {"holdout_ratio": 0.25, "patience": 3, "validate_every": 1, "accumulation": 2}
    stages = ("tokenizer_training", "prior_training")
    return varied(base, **{name: varied(getattr(base, name), **changes) for name in stages})


def kinds() -> dict[str, NDArray[Any]]:
    x = series(19, channels=2, length=30).astype(np.float64)
    short = x.copy()
    short[4:9, :, 22:], short[12, 1, 3:9] = np.nan, np.nan
    return {
        "whole": x.astype(np.float32), "ragged": short, "far": x + 1e7,
        "one channel": x[:, 0], "two, as float16": x.astype(np.float16),
    }  # fmt: skip


def mapped(folder: pathlib.Path, array: NDArray[Any]) -> Any:
    np.save(folder / "X.npy", array)
    return np.load(folder / "X.npy", mmap_mode="r")


def check_same(a: SSLTokenizer, b: SSLTokenizer, x: NDArray[Any]) -> None:
    for part in ("tokenizer", "prior"):
        state = getattr(a.artifact_, part).state_dict()
        other = getattr(b.artifact_, part).state_dict()
        assert list(state) == list(other)
        assert all(torch.equal(value, other[name]) for name, value in state.items()), part
        assert torch.equal(a.histories_[part].rows, b.histories_[part].rows)
    np.testing.assert_array_equal(a.encode(x), b.encode(x))
    np.testing.assert_array_equal(a.sample(3, seed=1), b.sample(3, seed=1))
    assert torch.equal(a.artifact_.lengths, b.artifact_.lengths)


@pytest.mark.parametrize("name", kinds())
def test_the_model_is_that_of_the_series_in_memory(name: str, tmp_path: pathlib.Path) -> None:
    x = kinds()[name]
    y = ["a", "b", None, "a"] * 4 + ["b", "b", "a"]
    first, second = (
        SSLTokenizer(config(), seed=3, progress=False).fit(part, y)
        for part in (x, mapped(tmp_path, x))
    )
    check_same(first, second, x)


def test_windows_are_learned_without_being_cut() -> None:
    long = np.cumsum(np.random.default_rng(0).standard_normal((2, 130)), axis=1)
    windows = np.stack([long[:, begin : begin + 32] for begin in range(0, 99, 7)])
    first, second = (
        SSLTokenizer(small(2), progress=False).fit(part)
        for part in (windows, WindowSource(long, 32, 7))
    )
    check_same(first, second, windows)


class Watched(ArraySource):
    """Notes which rows are read."""

    def __init__(self, array: NDArray[Any]) -> None:
        super().__init__(array)
        self.read: list[int] = []

    def take(self, rows: Any) -> NDArray[Any]:
        self.read += np.arange(len(self))[rows].tolist()
        return super().take(rows)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("kind", ["whole", "ragged"])
def test_a_process_reads_its_own_rows_alone(name: str, kind: str) -> None:
    """And its views are those of the whole batch: our augmentations take each series by itself."""
    x = kinds()[kind]
    source = Watched(x)
    words = small(2, augmentation=name)
    batches = []
    for data in (read_series(x), read_source(source)):
        model = build_stage_one(words, channels=2, length=30, batch=3, seed=0)
        model.tokenizer.fit_scale(data)
        scaled = model.tokenizer.scaled(data)
        labels = torch.full((len(x),), -1)
        stage, training, _ = tokenizer_stage(model, scaled, labels, words, seed=0, world=2)
        assert training.batch == 6
        source.read.clear()
        rows = [stage.draw(1, slice(first, first + 3)) for first in (0, 3)]
        batches.append(rows)
    assert len(source.read) == 6  # three by each
    for a, b in zip(*batches, strict=True):
        for one, other in zip(a, b, strict=True):
            items = zip(one, other, strict=True) if isinstance(one, tuple) else [(one, other)]
            assert all(p.equal(q) if torch.is_tensor(p) else p == q for p, q in items)


def test_somebody_elses_augmentation_sees_the_whole_batch() -> None:
    x = kinds()["whole"]

    def mixed(batch: Any, *, valid: Any = None, generator: Any = None) -> Any:
        return 0.5 * (batch + batch.flip(0))

    seen = []
    for data in (read_series(x), read_source(ArraySource(x))):
        model = build_stage_one(small(2), channels=2, length=30, batch=3, seed=0)
        model.tokenizer.fit_scale(data)
        labels = torch.full((len(x),), -1)
        stage, _, _ = tokenizer_stage(
            model, model.tokenizer.scaled(data), labels, small(2), seed=0, world=2, augment=mixed
        )
        seen.append(stage.draw(0, slice(3, 6)).views[0])
    assert torch.equal(*seen)


def test_codes_are_kept_in_the_smallest_type() -> None:
    x = read_series(kinds()["ragged"])
    for size, small_type in ((128, torch.int8), (129, torch.int16)):
        model = build_stage_one(small(codebook_size=size), channels=2, length=30, batch=3, seed=0)
        codes = encode_rows(model.tokenizer, x)
        assert codes.dtype == small_type
        whole = encode_series(model.tokenizer, x)
        assert whole.dtype == torch.int64
        assert torch.equal(codes.long(), whole)
        assert bool((codes == -1).any())


def test_a_start_in_portions_moves_no_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    x = read_series(kinds()["whole"])
    monkeypatch.setattr(portions, "SAMPLES", 4 * 30)
    model = build_stage_one(small(), channels=2, length=30, batch=3, seed=0)
    model.tokenizer.fit_scale(x)
    before = {k: v.clone() for k, v in model.tokenizer.state_dict().items() if "running" in k}
    seen: list[int] = []
    model.tokenizer.parts[0].encoder.register_forward_hook(
        lambda module, inputs, output: seen.append(len(inputs[0]))
    )
    start_tokenizer(model.tokenizer, model.tokenizer.scaled(x), seed=0)
    assert seen == [4, 4, 4, 4, 3]
    after = model.tokenizer.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_bad_series_on_disk_stop_before_training(tmp_path: pathlib.Path) -> None:
    x = kinds()["whole"].copy()
    x[7, 1, 3] = np.inf
    with pytest.raises(ValueError, match="values must be finite; got infinity in series 7"):
        SSLTokenizer(small(), progress=False).fit(mapped(tmp_path, x))
    with pytest.raises(ValueError, match="one label for each"):
        SSLTokenizer(small(), progress=False).fit(mapped(tmp_path, kinds()["whole"]), ["a"] * 3)


def test_a_line_is_said_before_the_pass(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SSLTokenizer(small(1), progress=False, verbose=True).fit(mapped(tmp_path, kinds()["whole"]))
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("reading 19 series once")


def encoded() -> torch.Tensor:
    setattr(_encode_rows, "AT_ONCE", 4)  # noqa: B010  which it imports
    try:
        model = build_stage_one(small(), channels=2, length=30, batch=3, seed=0)
        data = read_source(ArraySource(kinds()["ragged"]))
        model.tokenizer.fit_scale(data)
        return encode_rows(model.tokenizer, model.tokenizer.scaled(data))
    finally:
        setattr(_encode_rows, "AT_ONCE", 256)  # noqa: B010


def test_processes_encode_a_share_each_and_hold_all_codes(two_ranks: Ranks) -> None:
    alone = encoded()
    assert len(alone.unique()) > 2
    for codes in two_ranks.run(encoded, (), ()):
        assert codes.dtype == alone.dtype
        assert torch.equal(codes, alone)
