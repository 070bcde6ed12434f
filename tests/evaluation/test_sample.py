"""`evaluate(most=)`: a sample of large sets, said in every row."""

import pathlib
from typing import Any

import numpy as np
import pytest
import torch

from ssltok._shared import portions
from ssltok.evaluation import Measure, Outcome, Sets, Tokens, evaluate
from ssltok.metrics import FCNEncoder


def series(cases: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((cases, 2, 12)).astype(np.float32)


def seen(sets: Sets) -> list[Measure]:
    """Rows that say what was measured on."""

    def compute() -> Outcome:
        rows = [len(sets.series[name]) for name in ("train", "test", "generated")]
        rows += [
            len(sets.labels["train"]),
            len(sets.codes["test"]),
            len(sets.labels["train"].unique()),
        ]
        value = torch.tensor(rows, dtype=torch.float64)
        return Outcome(value, 0 * value, value, 0 * value, 1, "counted")

    names = ("train", "test", "generated", "labels", "codes", "classes")
    rows = tuple((name, "as real", "Rows.") for name in names)
    return [Measure(group="series", rows=rows, obstacle="", compute=compute)]


def report(most: int | None, **options: Any) -> Any:
    labels = ["rare"] + ["a", "b"] * 30
    a, b, c = (np.zeros((cases, 3), dtype=np.int64) for cases in (61, 9, 40))
    return evaluate(
        series(61), series(9, 1), series(40, 2), train_labels=labels,
        test_labels=["rare"] + ["a"] * 8, tokens=Tokens(a, b, c, codebook_size=2),
        measures=(seen,), most=most, **options,
    )  # fmt: skip


def test_rows_say_what_was_sampled() -> None:
    got = report(12)
    assert [got[name].value for name in ("train", "test", "generated")] == [12, 9, 12]
    assert got["labels"].value == 12
    assert got["codes"].value == 9
    assert got["classes"].value == 3  # the rare one too
    said = "a random sample of 12 of 61 training, 12 of 40 generated series"
    assert got["train"].note == f"counted; {said}"
    assert got.about["sample"] == said
    for most in (61, None):
        assert report(most)["train"].note == "counted"
    assert report(61)["train"].value == 61


def test_the_seed_decides_which() -> None:
    picked = []

    def level(sets: Sets) -> list[Measure]:
        def compute() -> Outcome:
            picked.append(sets.series["train"].sort(0).values)
            return Outcome(torch.ones(1), torch.ones(1), torch.ones(1), torch.ones(1), 1)

        return [Measure(group="series", rows=(("x", "lower", "X."),), obstacle="", compute=compute)]

    sets = (series(61), series(9, 1), series(40, 2))
    for seed in (0, 0, 1):
        evaluate(*sets, most=12, seed=seed, measures=(level,))
    assert torch.equal(picked[0], picked[1])
    assert not torch.equal(picked[0], picked[2])


def test_a_mapped_array_gives_what_the_array_does(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "X.npy", series(61))
    sets = (series(9, 1), series(40, 2))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    a, b, c = (
        evaluate(x, *sets, most=12)
        for x in (series(61), mapped, list(torch.from_numpy(series(61))))
    )
    assert repr(a.rows) == repr(b.rows) == repr(c.rows)


def test_complaints() -> None:
    sets = (series(61), series(9, 1), series(40, 2))
    with pytest.raises(ValueError, match="most must be >= 4"):
        evaluate(*sets, most=3)
    with pytest.raises(ValueError, match="at least the 61 classes"):
        evaluate(*sets, most=12, train_labels=[f"class {k}" for k in range(61)])
    with pytest.raises(ValueError, match="labels of training series must be 61"):
        evaluate(*sets, most=12, train_labels=["a"] * 60)
    with pytest.raises(TypeError, match="must be an array, a tensor or a list; got dict"):
        evaluate({}, *sets[1:], most=12)  # type: ignore[arg-type]


def test_many_series_pass_the_fcn_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.from_numpy(series(23))
    fcn = FCNEncoder.fit(x, torch.arange(23) % 3, steps=3, width=4,
                         generator=torch.Generator().manual_seed(0))  # fmt: skip
    whole, features = fcn.logits(x), fcn(x)
    sizes: list[int] = []
    fcn.network.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    monkeypatch.setattr(portions, "SAMPLES", 12 * 5)
    torch.testing.assert_close(fcn.logits(x), whole)
    assert sizes == [5, 5, 5, 5, 3]
    torch.testing.assert_close(fcn(x), features)
    assert fcn(x[:0]).shape == (0, 4)
