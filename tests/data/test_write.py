"""What comes out is written in the form that came in: read, written, read again."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pytest

from ssltok.data import Reading, load_dataset, write_table

pandas = pytest.importorskip("pandas")
RANDOM = np.random.default_rng(0)
LOG = pandas.DataFrame(RANDOM.normal(size=(30, 3)).round(4), columns=["heat", "flow", "level"])
LOG.insert(0, "when", pandas.date_range("2020-01-01", periods=30, freq="D"))
LOG.iloc[4, 2] = np.nan
STACKED = pandas.concat([LOG.assign(who=name, kind=name * 2)[["who", *LOG, "kind"]]
                         for name in "ba"])  # fmt: skip
ROWS = pandas.DataFrame(RANDOM.normal(size=(4, 9)).round(4), columns=[f"t{n}" for n in range(9)])
ROWS.iloc[1, 7:] = np.nan
TABLES: dict[str, tuple[Any, dict[str, Any]]] = {
    "log": (LOG, {}),
    "stacked": (STACKED, {"id": "who", "label": "kind"}),
    "long": (STACKED.melt(["who", "kind", "when"])[["who", "when", "variable", "value", "kind"]],
             {"layout": "long", "id": "who", "label": "kind", "channel": "variable"}),
    "rows": (ROWS.assign(kind=list("abab"))[["kind", *ROWS]],
             {"label": "kind", "layout": "series_in_rows"}),
    "plain rows": (ROWS, {"layout": "series_in_rows"}),
}  # fmt: skip
FORMS: dict[str, dict[str, Any]] = {
    "csv": {}, "txt": {"separator": "\t"}, "csv.gz": {"separator": ";", "decimal": ","},
    "tsv": {"separator": "\t", "encoding": "utf-16"}, "parquet": {}, "feather": {}, "xlsx": {},
}  # fmt: skip


@pytest.mark.parametrize("ending", FORMS)
@pytest.mark.parametrize("name", TABLES)
def test_a_table_comes_back_as_it_was(tmp_path: pathlib.Path, name: str, ending: str) -> None:
    table, options = TABLES[name]
    form = {key: value for key, value in FORMS[ending].items() if key != "encoding"}
    path, copy = tmp_path / f"in.{ending}", tmp_path / f"out.{ending}"
    write_frame(table, path, FORMS[ending])
    reading = Reading(**options, **form)
    if ending in ("parquet", "feather", "xlsx"):
        reading = dataclasses.replace(reading, separator=None, decimal=".")
    data = load_dataset(path, reading=reading)
    assert data.reading is not None
    write_table(
        copy, data.train if np.ndim(data.train[0]) == 2 else data.train[:, None],
        reading=data.reading, channels=data.channels, labels=data.train_labels,
        times=data.times if data.times is not None else
        list([LOG["when"].to_numpy()] * 2 if name in ("stacked", "long") else []) or None,
        ids=data.groups,
    )  # fmt: skip
    again = load_dataset(copy, reading=data.reading)
    np.testing.assert_array_equal(again.train, data.train)
    assert again.train_labels == data.train_labels
    if ending in ("csv", "txt", "csv.gz", "tsv"):
        one, two = (read_text(p, data.reading) for p in (path, copy))
        assert one[0].split(data.reading.separator) == two[0].split(data.reading.separator)
        assert sorted(one) == sorted(two)


def write_frame(frame: Any, path: pathlib.Path, form: dict[str, Any]) -> None:
    if path.suffix in (".parquet", ".feather", ".xlsx"):
        pytest.importorskip("openpyxl" if path.suffix == ".xlsx" else "pyarrow")
    if path.suffix == ".parquet":
        frame.reset_index(drop=True).to_parquet(path)
    elif path.suffix == ".feather":
        frame.reset_index(drop=True).to_feather(path)
    elif path.suffix == ".xlsx":
        frame.to_excel(path, index=False)
    else:
        frame.to_csv(path, index=False, sep=form.get("separator", ","),
                     decimal=form.get("decimal", "."), encoding=form.get("encoding"))  # fmt: skip


def read_text(path: pathlib.Path, reading: Reading) -> list[str]:
    with (__import__("gzip").open if path.suffix == ".gz" else open)(
        path, "rt", encoding=reading.encoding
    ) as stream:
        return [line.rstrip("\n") for line in stream]


def test_a_table_without_a_header(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.csv"
    reading = Reading(layout="series_in_rows", header=False, label="0")
    write_table(path, ROWS.to_numpy()[:, None], reading=reading, labels=list("abab"))
    assert path.read_text().startswith("a,")
    np.testing.assert_array_equal(load_dataset(path, reading=reading).train, ROWS.to_numpy())


def test_what_cannot_be_written(tmp_path: pathlib.Path) -> None:
    path, rows = tmp_path / "x.csv", Reading(layout="series_in_rows")
    path.write_text("mine")
    X = np.ones((2, 2, 9))
    for said, arguments in {
        "must have a layout": {"reading": Reading()},
        "a row holds one channel": {"reading": rows},
        "labels must be one for each series; got 1 for 2": {"reading": rows, "labels": ["a"]},
        "must have 3 channels": {"reading": rows, "channels": list("abc")},
        "every sample must have a time": {
            "reading": Reading(layout="time_in_rows"), "times": np.arange(8)},
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=f"write_table: .*{said}"):
            write_table(path, X, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="path must end in"):
        write_table(tmp_path / "x.doc", X[:, :1], reading=rows)
    assert path.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]
