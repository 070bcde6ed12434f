"""Labels: one meaning of "not labelled", no two labels mixed in silence, no targets."""

import decimal
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ssltok.data import label_index

NOTHING: dict[str, Any] = {
    "None": None, "nan": float("nan"), "np.nan": np.nan, "float32 nan": np.float32("nan"),
    "NA": pd.NA, "NaT": pd.NaT, "np NaT": np.datetime64("NaT"), "Decimal": decimal.Decimal("NaN"),
    "masked": np.ma.masked,
}  # fmt: skip


@pytest.mark.parametrize("nothing", NOTHING.values(), ids=NOTHING)
@pytest.mark.parametrize("labels", [["b", "a", "b"], [3, 1, 3], [True, False, True]])
def test_nothing_means_not_labelled(nothing: Any, labels: list[Any]) -> None:
    numbers, classes = label_index([*labels, nothing], 4)
    assert numbers.tolist() == [1, 0, 1, -1]
    assert numbers.dtype == torch.int64
    assert classes == sorted(set(labels))
    assert label_index([nothing, labels[1]], 2, classes=classes)[0].tolist() == [-1, 0]
    assert label_index([nothing] * 2, 2)[0].tolist() == [-1, -1]
    assert label_index([nothing] * 2, 2)[1] == []


TABLES: dict[str, Callable[[], Any]] = {
    "object array": lambda: np.array(["a", None, "b"], dtype=object),
    "series": lambda: pd.Series(["a", None, "b"]),
    "categorical": lambda: pd.Categorical(["a", None, "b"]),
    "string dtype": lambda: pd.Series(["a", None, "b"], dtype="string"),
    "masked": lambda: np.ma.masked_array(["a", "x", "b"], mask=[False, True, False]),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_labels(name: str) -> None:
    assert label_index(TABLES[name](), 3)[0].tolist() == [0, -1, 1]


def test_an_integer_column_beside_a_missing_one_stays_the_same_label() -> None:
    _, classes = label_index([0, 1, 0], 3)
    floats = pd.Series([0, 1, None]).to_numpy()  # 0.0, 1.0, nan
    assert floats.dtype == float
    assert label_index(floats, 3, classes=classes)[0].tolist() == [0, 1, -1]
    for y in (pd.Series([0, 1, None], dtype="Int64"), torch.tensor([0.0, 1.0, torch.nan])):
        assert label_index(y, 3, classes=classes)[0].tolist() == [0, 1, -1]


def test_numbers_are_one_label_where_they_are_equal() -> None:
    for y in itertools.permutations([1, np.int64(1), 1.0, np.float32(1.0)]):
        numbers, classes = label_index(list(y), 4)
        assert (numbers.tolist(), classes) == ([0] * 4, [1])
        assert type(classes[0]) is int
    _, classes = label_index([2, 1.0], 2)
    assert [type(label) for label in classes] == [int, int]
    assert [type(x) for x in label_index([2.0, 1.0], 2)[1]] == [float, float]
    assert label_index([2.5, 1], 2)[1] == [1, 2.5]


@pytest.mark.parametrize(
    ("one", "other"), [(1, "1"), (1.0, "1"), (1, "1.0"), (True, 1), (True, "True"), (0, False),
                       (np.int64(3), np.str_("3")), ("1e0", 1)]
)  # fmt: skip
def test_labels_that_read_alike_are_not_mixed(one: Any, other: Any) -> None:
    with pytest.raises(ValueError, match=r"labels that read alike must be of one type; got"):
        label_index([one, other, one], 3)
    _, classes = label_index([one, one], 2)
    with pytest.raises(ValueError, match=r"must hold known labels .* \(an? .*; .* is an? "):
        label_index([other], 1, classes=classes)


def test_texts_of_nothing_are_no_class() -> None:
    with pytest.raises(ValueError, match=r"got the text 'nan', which numpy makes of one"):
        label_index(np.array(["a", np.nan, "b"]), 3)
    assert label_index(["a", "nan"], 2)[1] == ["a", "nan"]  # somebody wrote it


@pytest.mark.parametrize(
    "y",
    [
        np.random.default_rng(0).normal(size=30),
        np.arange(21),
        np.round(np.random.default_rng(0).normal(size=60), 2),
        [0.5 * k for k in range(25)] + [None] * 40,
    ],
    ids=["targets", "an index", "rounded targets", "partly"],
)
def test_targets_are_refused(y: Any) -> None:
    with pytest.raises(ValueError, match=r"different numbers for \d+ series, which look like tar"):
        label_index(y, len(y))


@pytest.mark.parametrize(
    "y",
    [
        np.arange(20),
        np.arange(60) // 2,
        np.arange(60) % 31 / 10,
        [f"patient {k}" for k in range(60)],
        [0.5, 1.5] * 20,
    ],
    ids=["few", "pairs", "levels", "texts", "halves"],
)
def test_classes_are_no_targets(y: Any) -> None:
    if isinstance(y, np.ndarray) and y.dtype == float:
        y = np.concatenate([y, y])
    assert int(label_index(y, len(y))[0].min()) == 0


def test_one_text_is_no_list_of_labels() -> None:
    with pytest.raises(TypeError, match=r"y must hold a label for each series; got one text"):
        label_index("aab", 3)
    with pytest.raises(TypeError, match=r"y must hold a label for each series; got 3"):
        label_index(3, 1)  # type: ignore[arg-type]
    assert label_index([10**400, 1], 2)[1] == [1, 10**400]
