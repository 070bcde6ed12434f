"""Data frames and the containers of sktime and aeon as X."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ssltok.data import read_series

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")
datatypes = pytest.importorskip("sktime.datatypes")
X = np.random.default_rng(0).normal(size=(5, 3, 12))
FLAT = X[:, :1]


def long() -> Any:
    frame = datatypes.convert_to(X, "pd-long")
    return frame.rename(
        columns={"instances": "case_id", "timepoints": "reading_id", "variable": "dim_id"}
    )


def nullable() -> Any:
    frame = pandas.DataFrame(FLAT[:, 0]).convert_dtypes()
    frame.iloc[1, 3] = pandas.NA
    return frame


CONTAINERS: dict[str, Callable[[], Any]] = {
    **{name: functools.partial(datatypes.convert_to, X, name) for name in
       ("nested_univ", "pd-multiindex", "df-list", "numpy3D", "pd-long", "polars_panel")},
    "np-list": lambda: list(X),
    "aeon's long form": long,
    "a hierarchy": lambda: pandas.concat({"g": datatypes.convert_to(X, "pd-multiindex")}),
    "polars, nested": lambda: polars.DataFrame({c: list(X[:, n]) for n, c in enumerate("abc")}),
    "pyarrow, nested": lambda: polars.DataFrame(
        {c: list(X[:, n]) for n, c in enumerate("abc")}).to_arrow(),
}  # fmt: skip
FLATS: dict[str, Callable[[], Any]] = {
    "pandas": lambda: pandas.DataFrame(FLAT[:, 0]),
    "pandas, objects": lambda: pandas.DataFrame(FLAT[:, 0]).astype(object),
    "polars": lambda: polars.DataFrame(FLAT[:, 0]),
    "polars, lazy": lambda: polars.DataFrame(FLAT[:, 0]).lazy(),
    "pyarrow": lambda: polars.DataFrame(FLAT[:, 0]).to_arrow(),
    "numbered samples": lambda: pandas.DataFrame(FLAT[:, 0], columns=[f"t{n}" for n in range(12)]),
    "numpyflat": lambda: FLAT[:, 0],
    "series of arrays": lambda: pandas.Series(list(FLAT[:, 0])),
    "list of series": lambda: [pandas.Series(row) for row in FLAT[:, 0]],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_of_channels(name: str) -> None:
    np.testing.assert_array_equal(read_series(CONTAINERS[name]()).values, X.astype(np.float32))


@pytest.mark.parametrize("name", FLATS)
def test_frames_with_a_series_in_each_row(name: str) -> None:
    np.testing.assert_array_equal(read_series(FLATS[name]()).values, FLAT.astype(np.float32))


def test_missing_values_and_unequal_lengths() -> None:
    series = read_series(nullable())
    assert series.valid.sum() == 59
    assert not series.valid[1, 0, 3]
    ragged = pandas.DataFrame(
        {"a": [pandas.Series(range(9)), pandas.Series(range(8))],
         "b": [pandas.Series(range(4)), pandas.Series(range(8))]}
    )  # fmt: skip
    series = read_series(ragged)
    assert series.lengths.tolist() == [9, 8]
    assert series.valid.sum(dim=2).tolist() == [[9, 4], [8, 8]]
    panel = datatypes.convert_to(X, "pd-multiindex").iloc[:-3]
    assert read_series(panel).lengths.tolist() == [12, 12, 12, 12, 9]


@pytest.mark.parametrize(
    ("frame", "error", "said"),
    [
        (pandas.DataFrame(X[0].T, index=pandas.date_range("2020", periods=12)), ValueError,
         "an index of times: read it with load_dataset"),
        (pandas.DataFrame(X[0].T, columns=list("abc")), ValueError,
         "series or a time; got columns"),
        (pandas.DataFrame({"time": range(9), "1": range(9)}), ValueError, r"columns \['time'\]"),
        (pandas.DataFrame([["a"] * 9]), TypeError, "must hold numbers"),
        (pandas.DataFrame(), ValueError, "must hold values"),
        (pandas.Series(range(9)), TypeError, "a series in each cell"),
        ([pandas.DataFrame(X[0].T), X[0]], TypeError, "must hold nothing else"),
        (datatypes.convert_to(X, "pd-multiindex").iloc[::-1], ValueError, "times must rise"),
        (pandas.concat([datatypes.convert_to(X, "pd-multiindex")] * 2), ValueError, "got two"),
        (pandas.DataFrame({"a": [np.ones((2, 9))]}), TypeError, "one channel each"),
    ],
)  # fmt: skip
def test_frames_that_are_refused(frame: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=f"^read_series: .*{said}"):
        read_series(frame)
