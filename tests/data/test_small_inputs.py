"""Small files of many habits: read as pandas reads them, or one line that says why not."""

import gzip
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ssltok.data import Reading, load_dataset, read_series

T = pd.date_range("2024-01-01", periods=40, freq="h")
LOG = pd.DataFrame({"time": T, "heat": np.sin(np.arange(40)), "flow": np.arange(40) / 8})
WAVES = np.random.default_rng(0).normal(size=(12, 20))
NUMBERED = pd.DataFrame(WAVES, columns=[f"t{k}" for k in range(20)])
TEXT = LOG.to_csv(index=False)
ROWS = TEXT.splitlines()
Make = Callable[[pathlib.Path], Any]


def text(name: str, content: str | bytes) -> Make:
    def make(folder: pathlib.Path) -> pathlib.Path:
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)
        return folder / name

    return make


def array(name: str, **arrays: Any) -> Make:
    def make(folder: pathlib.Path) -> pathlib.Path:
        if name.endswith(".npz"):
            np.savez(folder / name, **arrays)
        else:
            np.save(folder / name, arrays["x"])
        return folder / name

    return make


def lists(ending: str) -> Make:
    def make(folder: pathlib.Path) -> pathlib.Path:
        import pyarrow as pa
        import pyarrow.feather as feather
        import pyarrow.parquet as parquet

        write = parquet.write_table if ending == ".parquet" else feather.write_feather
        write(pa.table({"x": list(WAVES), "label": ["a", "b"] * 6}), folder / f"x{ending}")
        return folder / f"x{ending}"

    return make


def lines(*rows: str, head: str = "time,heat") -> str:
    return "\n".join([head, *rows])


def each(form: Callable[[int, pd.Timestamp, float], str], head: str = "time,heat") -> str:
    return lines(*(form(k, t, v) for k, (t, v) in enumerate(zip(T, LOG.heat, strict=True))),
                 head=head)  # fmt: skip


GERMAN = "\ufeffZeit;heat\r\n" + "\r\n".join(
    f"{t:%d.%m.%Y %H:%M};{v:.4f}".replace(".", ",").replace(",", ".", 2)
    for t, v in zip(T, LOG.heat, strict=True)
)
FROM_R = '"","heat","flow"\n' + "\n".join(f'"{k + 1}",{a},{b}' for k, a, b in zip(
    range(40), LOG.heat, LOG.flow, strict=True))  # fmt: skip
MULTI = pd.DataFrame(
    np.tile(LOG[["heat", "flow"]].to_numpy(), 2), index=T,
    columns=pd.MultiIndex.from_product([["a", "b"], ["x", "y"]]),
)  # fmt: skip
DAYS = pd.date_range("2024-01-10", periods=40)
ZONED = pd.date_range("2024-03-30 20:00", periods=40, freq="h", tz="Europe/Berlin")

READ: dict[str, tuple[Make, dict[str, Any], tuple[int, ...]]] = {
    "R's row names": (text("x.csv", FROM_R),
                      {"layout": "time_in_rows", "drop": ("Unnamed: 0",)}, (1, 2, 40)),
    "Excel's CSV": (text("x.csv", GERMAN),
                    {"decimal": ",", "time_format": "%d.%m.%Y %H:%M"}, (1, 1, 40)),
    "separators at the end": (text("x.csv", "".join(f"{row},\n" for row in ROWS)), {}, (1, 2, 40)),
    "quoted numbers": (text("x.csv", each(lambda k, t, v: f'"{t}","{v}"')), {}, (1, 1, 40)),
    "a comment above": (text("x.csv", f"# site 5\n{TEXT}"), {}, (1, 2, 40)),
    "old Mac's ends of lines": (text("x.csv", TEXT.replace("\n", "\r")), {}, (1, 2, 40)),
    "utf-16": (text("x.csv", TEXT.encode("utf-16")), {}, (1, 2, 40)),
    "upper case ending": (text("X.CSV", TEXT), {}, (1, 2, 40)),
    "gzip of two members": (text("x.csv.gz", gzip.compress("\n".join(ROWS[:9]).encode() + b"\n")
                                 + gzip.compress("\n".join(ROWS[9:]).encode())), {}, (1, 2, 40)),
    "summer time with offsets": (text("x.csv", LOG.assign(time=ZONED).to_csv(index=False)), {},
                                 (1, 2, 40)),
    "days that can be no months": (
        text("x.csv", LOG.assign(time=DAYS.strftime("%d/%m/%Y")).to_csv(index=False)), {},
        (1, 2, 40)),
    "seconds since 1970": (text("x.csv", each(lambda k, t, v: f"{1704067200 + 60 * k},{v}")), {},
                           (1, 1, 40)),
    "one column": (text("x.csv", "\n".join(map(str, LOG.heat + 0.5))), {"layout": "time_in_rows"},
                   (1, 1, 40)),
    "one row": (text("x.csv", ",".join(map(str, WAVES[0]))), {"layout": "series_in_rows"},
                (1, 1, 20)),
    "one axis": (array("x.npy", x=np.arange(40.0)), {"layout": "time_in_rows"}, (1, 1, 40)),
    "channels last": (array("x.npy", x=WAVES.reshape(12, 10, 2)), {"layout": "channels_last"},
                      (12, 2, 10)),
    "channels last in .npz": (array("x.npz", X=WAVES.reshape(12, 10, 2)),
                              {"layout": "channels_last"}, (12, 2, 10)),
    "an array by name": (array("x.npz", a=WAVES, b=2 * WAVES), {"value": "b"}, (12, 1, 20)),
    "whole floats as labels": (lambda _: NUMBERED.assign(label=[1.0, 2.0] * 6), {}, (12, 1, 20)),
    "mixed labels": (lambda _: NUMBERED.assign(label=[1, "a"] * 6), {}, (12, 1, 20)),
    "boolean labels": (lambda _: NUMBERED.assign(label=[True, False] * 6), {}, (12, 1, 20)),
    "categories": (lambda _: NUMBERED.assign(label=pd.Categorical(["a", None] * 6)), {},
                   (12, 1, 20)),
    "whole labels with NA": (lambda _: NUMBERED.assign(label=pd.array([1, None] * 6, "Int64")), {},
                             (12, 1, 20)),
    "two levels of names": (lambda _: MULTI, {}, (1, 4, 40)),
    "an index without a name": (lambda _: LOG.set_index("time").rename_axis(None), {}, (1, 2, 40)),
    "bytes": (lambda _: LOG.assign(heat=[b"1.5", b"2.5"] * 20), {}, (1, 2, 40)),
}  # fmt: skip
REFUSED: dict[str, tuple[Make, dict[str, Any], str]] = {
    "R's row names": (text("x.csv", FROM_R), {}, "may number the rows or hold values"),
    "decimal comma": (text("x.csv", GERMAN), {},
                      r"numbers must have one decimal mark.*--decimal ,"),
    "days that can be months": (text("x.csv", GERMAN), {"decimal": ","},
                                "times must be read in one way.*--time-format"),
    "a row of units": (text("x.csv", "\n".join([ROWS[0], "-,degC,m3/h", *ROWS[1:]])), {},
                       "got '-' in column 'time'"),
    "a total below": (text("x.csv", f"{TEXT}Total,1,2\n"), {},
                      "times must be written in one way; got 'Total' in line 42"),
    "a name twice": (text("x.csv", TEXT.replace("flow", "heat")), {}, "got 'heat' twice"),
    "falling times": (text("x.csv", LOG[::-1].to_csv(index=False)), {}, "times must rise"),
    "a time twice": (text("x.csv", pd.concat([LOG[:9], LOG[8:]]).to_csv(index=False)), {},
                     "times must rise.* in line 11"),
    "thousands": (text("x.csv", each(lambda k, t, v: f'{t},"{1000 * (k + 1):,}"')), {},
                  "cells must be numbers; got '1,000' in line 2"),
    "percent": (text("x.csv", each(lambda k, t, v: f"{t},{k}%")), {}, "got '0%' in line 2"),
    "date and time": (text("x.csv", each(lambda k, t, v: f"{t:%Y-%m-%d},{t:%H:%M},{v}",
                                         head="date,time,heat")), {}, "one column may be the time"),
    "infinity": (text("x.csv", each(lambda k, t, v: f"{t},{'inf' if k == 5 else v}")), {},
                 "values must be finite"),
    "empty": (text("x.csv", ""), {}, "got an empty file"),
    "blank lines": (text("x.csv", "\n\n\n"), {}, "got an empty file"),
    "names alone": (text("x.csv", "time,heat,flow\n"), {}, "either names or data"),
    "names alone, as such": (text("x.csv", "time,heat,flow\n"), {"header": True}, "rows"),
    "one row of a log": (text("x.csv", "\n".join(ROWS[:2])), {}, "at least 8 samples; got 1"),
    "one column": (text("x.csv", "\n".join(map(str, LOG.heat + 0.5))), {}, "a series or a time"),
    "latin text": (text("x.csv", TEXT.replace("heat", "Wärme").encode("latin-1")), {},
                   "--encoding cp1252"),
    "zeros in the text": (text("x.csv", TEXT.replace("flow", "fl\0w")), {}, "bytes of zero"),
    "long whole numbers": (text("x.csv", each(lambda k, t, v: f"{t},{10**18 + k}")), {},
                           r"up to 2\*\*53 among them; got 1000000000000000001 in line 3"),
    "long whole numbers in a frame": (lambda _: LOG.assign(flow=2**53 + np.arange(40)), {},
                                      r"got 9007199254740993 in row 2"),
    "too large": (text("x.csv", each(lambda k, t, v: f"{t},{10**20 + k}")), {}, "too large"),
    "many different labels": (lambda _: NUMBERED.assign(label=WAVES[:, 0]), {},
                              "labels must be classes; got 12 different numbers"),
    "numbers only": (lambda _: pd.DataFrame(WAVES), {}, "a series or a time"),
    "several arrays": (array("x.npz", a=WAVES, b=WAVES), {}, "must hold X_train or X"),
    "one axis": (array("x.npy", x=np.arange(40.0)), {}, "--layout time_in_rows"),
    "no axis": (array("x.npy", x=np.float64(3)), {}, "shape"),
    "four axes": (array("x.npy", x=np.zeros((2, 3, 4, 5))), {}, "shape"),
    "no series": (array("x.npy", x=WAVES[:0]), {}, r"the array must hold series.*; got \(0, "),
    "no samples": (array("x.npy", x=WAVES[:, :0]), {}, r"must hold series.*; got \(12, 0\)"),
    "no series to learn from": (array("x.npz", X_train=WAVES[:0], X_test=WAVES), {},
                                r"X_train must hold series.*; got \(0, "),
    "no series to test on": (array("x.npz", X_train=WAVES, X_test=WAVES[:0]), {},
                             r"X_test must hold series.*; got \(0, "),
    "complex": (array("x.npy", x=WAVES + 1j), {}, "complex"),
    "channels last": (array("x.npy", x=WAVES[:, :16].reshape(12, 8, 2).cumsum(1)), {},
                      "layout='channels_last'"),
    "two axes and channels": (array("x.npy", x=WAVES), {"layout": "channels_last"},
                              "an array of .* has no .*channels_last"),
    "a table and channels": (text("x.csv", TEXT), {"layout": "channels_last"}, "is for arrays"),
    "lists in parquet": (lists(".parquet"), {"layout": "series_in_rows"}, "--source True"),
    "lists in Arrow": (lists(".feather"), {"layout": "series_in_rows"}, "--source True"),
    "a frame of lists": (lambda _: pd.DataFrame({"x": list(WAVES)}), {"layout": "series_in_rows"},
                         "--source True"),
    "another ending": (text("x.h5", "x"), {}, "a file must end in"),
    "an archive of two": (text("x.zip", "x"), {}, "a file must end in"),
}  # fmt: skip


def read(source: Any, options: dict[str, Any]) -> Any:
    data = load_dataset(source, reading=Reading(**options) if options else None)
    return data, read_series(data.train, layout=data.layout)


@pytest.mark.parametrize("name", READ)
def test_it_is_read_as_pandas_reads_it(name: str, tmp_path: pathlib.Path) -> None:
    make, options, shape = READ[name]
    data, series = read(make(tmp_path), options)
    assert tuple(series.values.shape) == shape
    if name == "channels last":
        np.testing.assert_allclose(
            series.values[3, 1], WAVES.reshape(12, 10, 2)[3, :, 1], rtol=1e-6
        )
    elif "heat" in data.channels and name != "bytes":
        got = np.asarray(data.train)[0, data.channels.index("heat")]
        np.testing.assert_allclose(got, LOG.heat, atol=1e-4)
    elif shape[0] == 12 and "array" not in name and "last" not in name:
        np.testing.assert_allclose(np.reshape(data.train, (12, -1)), WAVES)


@pytest.mark.parametrize("name", REFUSED)
def test_or_it_ends_in_one_line_that_says_why(name: str, tmp_path: pathlib.Path) -> None:
    make, options, words = REFUSED[name]
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        read(make(tmp_path), options)
    assert "\n" not in str(caught.value)


def test_labels_keep_their_meaning(tmp_path: pathlib.Path) -> None:
    wanted = {
        "whole floats as labels": [1.0, 2.0], "mixed labels": [1, "a"],
        "boolean labels": [True, False], "categories": ["a", None],
        "whole labels with NA": [1, None],
    }  # fmt: skip
    for name, pair in wanted.items():
        labels = load_dataset(READ[name][0](tmp_path)).train_labels
        assert list(labels or [])[:2] == pair, name


def test_a_cell_of_several_lines_is_said_in_one(tmp_path: pathlib.Path) -> None:
    odd = pd.DataFrame({"time": T, "heat": ["two\nlines"] * 40})
    with pytest.raises(ValueError, match="cells must be numbers") as caught:
        load_dataset(odd)
    assert "\n" not in str(caught.value)
