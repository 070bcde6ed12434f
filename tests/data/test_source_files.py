"""A file as a source: the data set of the same file in memory, or one line that says why not."""

import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as parquet
import pytest
import torch

from ssltok.data import (
    ArraySource,
    Reading,
    SeriesSource,
    SubsetSource,
    load_dataset,
    load_source,
    read_series,
    read_source,
    train_and_test,
    wants_source,
    windowed,
)
from ssltok.data._large import _files
from tests.pipelines.small import series

X = series(14, channels=2, length=20).astype(np.float64)
LABELS = ["a", "b", None, "a", "a", "b", "b"] * 2


def table(folder: pathlib.Path, ending: str, *, lists: bool) -> pathlib.Path:
    if lists:
        columns: dict[str, Any] = {"heat": list(X[:, 0]), "flow": list(X[:, 1])}
    else:
        columns = {f"t{k}": X[:, 0, k] for k in range(20)} | {"spare": X[:, 1, 0]}
    write = parquet.write_table if ending == ".parquet" else feather.write_feather
    options: dict[str, Any] = {"row_group_size": 5} if ending == ".parquet" else {}
    write(pa.table({**columns, "kind": LABELS}), folder / f"x{ending}", **options)
    return folder / f"x{ending}"


def values(source: Any) -> torch.Tensor:
    opened = read_source(source)
    return opened.take(torch.arange(opened.cases)).values


ARRAYS = {
    "channels first": (X, None, X),
    "said so": (X, "channels_first", X),
    "channels last": (X.swapaxes(1, 2), "channels_last", X),
    "one channel": (X[:, 0], None, X[:, :1]),
    "rows": (X[:, 0], "series_in_rows", X[:, :1]),
    "a log": (X[0].T, "time_in_rows", X[:1]),
    "a log of one channel": (X[0, 0], "time_in_rows", X[:1, :1]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_read_as_load_dataset_reads_it(name: str, tmp_path: pathlib.Path) -> None:
    array, layout, expected = ARRAYS[name]
    np.save(tmp_path / "x.npy", np.ascontiguousarray(array))
    reading = Reading(layout=layout)  # type: ignore[arg-type]
    source, memory = (f(tmp_path / "x.npy", reading=reading) for f in (load_source, load_dataset))
    assert isinstance(source.train, SeriesSource)
    wanted = read_series(expected, layout="channels_first").values
    assert torch.equal(values(source.train), wanted)
    assert torch.equal(read_series(memory.train, layout="channels_first").values, wanted)
    cases, channels, length = expected.shape
    plural = "s" * (channels > 1)
    assert source.about == (
        f"{cases} series of {length} samples x {channels} channel{plural}, no label; 0.000 GiB, "
        "read from the file when needed"
    )


@pytest.mark.parametrize("ending", [".parquet", ".feather", ".arrow"])
@pytest.mark.parametrize("lists", [True, False])
def test_a_table_has_channels_and_labels(ending: str, lists: bool, tmp_path: pathlib.Path) -> None:
    file = table(tmp_path, ending, lists=lists)
    options: dict[str, Any] = {} if lists else {"layout": "series_in_rows", "drop": ("spare",)}
    data = load_source(file, reading=Reading(label="kind", **options))
    expected = X if lists else X[:, :1]
    assert torch.equal(values(data.train), read_series(expected).values)
    assert data.train_labels == LABELS
    assert data.channels == (("heat", "flow") if lists else ())
    assert "2 classes" in data.about
    assert load_source(file, reading=Reading(label="", **options)).train_labels is None


REFUSED = {
    "no file": ("no.npy", {}, "the file must exist"),
    "a text": ("x.csv", {}, "a file must end in .npy"),
    "an option of tables": ("x.npy", {"label": "y"}, "label must be left out"),
    "a separator": ("n.parquet", {"separator": ";"}, "separator must be left out"),
    "two readings": ("n.parquet", {}, "a series or a time: pass .*--layout series_in_rows"),
    "times in rows": ("l.parquet", {"layout": "time_in_rows"}, "must be a series"),
    "no such label": ("l.parquet", {"label": "no"}, "columns must be of heat, .*; got 'no'"),
    "no such column": ("l.parquet", {"drop": ("no",)}, "columns must be of heat, .*; got 'no'"),
    "axes": ("x.npy", {"layout": "time_in_rows"}, "an array of .* has no .*time_in_rows"),
    "long": ("x.npy", {"layout": "long"}, "an array of .* has no"),
    "cut off": ("cut.npy", {}, "must be readable"),
    "objects": ("o.npy", {}, "must be readable; got .*objects"),
    "on its side": ("side.npy", {}, "channels_last"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_source_is_refused_in_a_line(name: str, tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "o.npy", np.array([[1], None], dtype=object), allow_pickle=True)
    walk = np.random.default_rng(0).normal(size=(9, 40, 12)).cumsum(1)
    np.save(tmp_path / "side.npy", walk)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:300])
    (tmp_path / "x.csv").write_text("1,2\n")
    table(tmp_path, ".parquet", lists=True).rename(tmp_path / "l.parquet")
    table(tmp_path, ".parquet", lists=False).rename(tmp_path / "n.parquet")
    file, options, words = REFUSED[name]
    with pytest.raises((ValueError, OSError), match=words) as caught:
        load_source(tmp_path / file, reading=Reading(**options))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_file_stays_where_it_is_where_it_is_large(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", X)
    file = table(tmp_path, ".parquet", lists=True)
    rows = Reading(layout="series_in_rows")
    assert not wants_source(tmp_path / "x.npy")
    monkeypatch.setattr(_files, "LARGE", 100)
    assert wants_source(tmp_path / "x.npy")
    assert wants_source(file, reading=rows)
    assert not wants_source(file)  # a row may be a time
    assert not wants_source(tmp_path / "x.npy", reading=Reading(label="y"))
    assert not wants_source("GunPoint")


def test_parts_and_windows_are_those_of_memory() -> None:
    long = np.cumsum(np.random.default_rng(0).normal(size=(1, 2, 200)), axis=2)
    long[0, :, 95:100] = np.nan
    for array, window in ((X, None), (long, 16)):
        sets = [load_dataset_of(part, window) for part in (array, ArraySource(array))]
        assert sets[0].about == sets[1].about
        for one, other in ((sets[0].train, sets[1].train), (sets[0].test, sets[1].test)):
            assert isinstance(other, SeriesSource)
            np.testing.assert_array_equal(one, other.take(slice(0, len(other))))


def load_dataset_of(series: Any, window: int | None) -> Any:
    from ssltok.data import Dataset

    generator = torch.Generator().manual_seed(0)
    data = Dataset("x", series, None, None, None)
    if window is not None:
        assert windowed(data, size=window, stride=4).about == (
            "45 windows of 16 every 4 (2 that end in a gap left out)"
        )
    return train_and_test(data, generator, window=window, stride=None if window is None else 4)


def test_several_long_series_of_a_source_are_refused() -> None:
    from ssltok.data import Dataset

    data = Dataset("x", ArraySource(X), None, None, None)
    with pytest.raises(ValueError, match=r"a source must hold one long series .*; got 14 series"):
        windowed(data, size=8)
    with pytest.raises(ValueError, match=r"a window must lie in \[1, 20\]"):
        windowed(data._replace(train=ArraySource(X[:1])), size=21)


def test_some_rows_are_those_rows(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for rows in ([5, 2, 9], [3, 4, 5, 6]):
        some = SubsetSource(ArraySource(mapped), np.array(rows))
        np.testing.assert_array_equal(some.take(slice(1, 3)), X[rows][1:3])
        np.testing.assert_array_equal(some.take(np.array([2, 0])), X[rows][[2, 0]])
        assert torch.equal(values(some), read_series(X[rows]).values)
        assert len(some) == len(rows)
    ones = [SubsetSource(ArraySource(mapped), np.array(rows)).files() for rows in ([0, 1], [1, 0])]
    assert ones[0] != ones[1]
    for wrong in ([], [14], [-1], [[0]]):
        with pytest.raises(ValueError, match="SubsetSource: rows must"):
            SubsetSource(ArraySource(X), np.array(wrong, dtype=np.int64))
