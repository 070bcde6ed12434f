"""Tables: what has two readings is refused with the option that decides; the rest is read right."""

import dataclasses
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ssltok.data import Reading, load_dataset, read_series

pandas = pytest.importorskip("pandas")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(20, 24)).round(4)
LOG = pandas.DataFrame(RANDOM.normal(size=(400, 10)).round(4), columns=[f"T{n}" for n in range(10)])
DATES = pandas.date_range("2020-01-01", periods=400, freq="h")
DATED = LOG.assign(date=DATES)[["date", *LOG]]
ROWS = pandas.DataFrame(X, columns=[f"t{n}" for n in range(24)])
LABELS = ["up", "down"] * 10
XYZ = pandas.DataFrame(X[:, :3], columns=list("xyz"))
Write = Callable[[pathlib.Path], object]


def text(content: str) -> Write:
    return lambda path: path.write_text(content)


def csv(frame: Any, **options: Any) -> Write:
    return lambda path: frame.to_csv(path, **{"index": False, **options})


AMBIGUOUS: dict[str, tuple[Write, dict[str, Any], list[dict[str, Any]]]] = {
    # name: how it is written, with which options, and the options that its error must name
    "DataFrame.to_csv": (csv(pandas.DataFrame(X), index=True), {}, [{"header": True}]),
    "DataFrame.to_csv, rows": (
        csv(pandas.DataFrame(X), index=True),
        {"layout": "series_in_rows", "header": True},
        [{"drop": "Unnamed: 0"}, {"id": "Unnamed: 0"}],
    ),
    "DataFrame.to_csv(index=False)": (csv(pandas.DataFrame(X)), {}, [{"header": True}]),
    "np.savetxt": (
        lambda path: np.savetxt(path, X), {},
        [{"layout": "series_in_rows"}, {"layout": "time_in_rows"}],
    ),
    "np.savetxt, commas": (
        lambda path: np.savetxt(path, X, delimiter=","), {}, [{"layout": "series_in_rows"}],
    ),
    "a log": (csv(LOG), {}, [{"layout": "series_in_rows"}, {"layout": "time_in_rows"}]),
    "a log, its index": (
        csv(LOG, index=True), {}, [{"drop": "Unnamed: 0"}, {"time": "Unnamed: 0"}],
    ),
    "a log, its named index": (
        csv(LOG.rename_axis("index"), index=True), {"layout": "time_in_rows"}, [{"drop": "index"}],
    ),
    "a log, dates and index": (csv(DATED, index=True), {}, [{"drop": "Unnamed: 0"}]),
    "a log, counted": (
        csv(LOG.assign(n=range(400))[["n", *LOG]]), {"layout": "time_in_rows"}, [{"time": "n"}],
    ),
    "a log, labelled": (
        csv(LOG.assign(activity=1, label="walk")), {}, [{"layout": "time_in_rows"}],
    ),
    "a log, time and label": (
        csv(DATED.assign(label=1)), {},
        [{"layout": "series_in_rows"}, {"layout": "time_in_rows"}],
    ),
    "a log, a channel called label": (
        csv(DATED.assign(label=range(400))), {"layout": "time_in_rows"},
        [{"label": ""}, {"drop": "label"}],
    ),
    "rows, numbered": (csv(ROWS.assign(label=LABELS), index=True), {}, [{"drop": "Unnamed: 0"}]),
    "rows, an id": (
        csv(ROWS.assign(label=LABELS, id=range(20))), {}, [{"id": "id"}, {"drop": "id"}],
    ),
    "rows, two labels": (
        csv(ROWS.assign(label=LABELS, **{"class": 1})), {},
        [{"label": "label"}, {"label": "class"}],
    ),
    "rows without a label": (csv(ROWS), {}, [{"layout": "series_in_rows"}]),
    "x, y and z": (csv(XYZ), {}, [{"label": "y"}, {"label": ""}]),
    "x, y and z, rows": (csv(XYZ), {"layout": "series_in_rows"}, [{"label": "y"}, {"label": ""}]),
    "years above": (
        text("1990,1995,2000,2010\n" + "0.4,0.2,1.5,0.4\n" * 9), {"layout": "time_in_rows"},
        [{"header": True}, {"header": False}],
    ),
    "steps above": (
        text("0.0,0.1,0.2,0.3\n" + "0.4,0.2,1.5,0.4\n" * 9), {"layout": "series_in_rows"},
        [{"header": True}, {"header": False}],
    ),
    "0 above one column": (
        csv(pandas.Series(X[0]).to_frame()), {"layout": "time_in_rows"}, [{"header": True}],
    ),
    "a word in the first line of data": (
        text("1.5,oops,2.5\n" + "0.4,0.2,1.5\n" * 9), {"layout": "time_in_rows"},
        [{"header": True}, {"header": False}],
    ),
    "decimal commas": (
        text("a;b\n" + "1,5;2,5\n" * 9), {"layout": "time_in_rows"},
        [{"decimal": ","}, {"separator": ","}],
    ),
    "two separators": (
        text("a;b,c;d\n" + "1;b,2;3\n" * 9), {"layout": "time_in_rows"}, [{"separator": ","}],
    ),
    "days or months": (
        text("date,v\n01/02/2020,1\n02/02/2020,2\n03/02/2020,3\n"), {},
        [{"time_format": "%d/%m/%Y"}, {"time_format": "%m/%d/%Y"}],
    ),
    "two times": (
        text("date,when,v\n2020-01-01,2020-02-01,1\n2020-01-02,2020-02-02,1\n"), {},
        [{"time": "date"}, {"time": "when"}],
    ),
    "R's write.table": (
        text('"a","b"\n"1",1.5,2\n"2",2.5,3\n'), {"layout": "time_in_rows"},
        [{"drop": "Unnamed: 0"}],
    ),
    "targets for labels": (
        csv(ROWS.assign(target=X[:, 0])), {}, [{"drop": "target"}],
    ),
    "a time by another name": (
        csv(LOG.assign(elapsed=np.cumsum(np.arange(400) % 7 + 1.0))[["elapsed", *LOG]]),
        {"layout": "time_in_rows"}, [{"time": "elapsed"}, {"id": ""}],
    ),
    "a long table's further column": (
        csv(DATED.melt("date").assign(quality=1)), {"layout": "long", "channel": "variable"},
        [{"drop": "quality"}],
    ),
    "question marks": (
        text("a,b\n1,2\n?,3\n"), {"layout": "time_in_rows"}, [{"missing": "?"}],
    ),
    "another encoding": (
        lambda path: path.write_bytes("é,b\n1,2\n".encode("cp1252")), {"layout": "time_in_rows"},
        [{"encoding": "cp1252"}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_two_readings_are_refused_and_the_options_are_named(
    name: str, tmp_path: pathlib.Path
) -> None:
    """In the words of Python and of the command; each option named can be passed."""
    write, given, wanted = AMBIGUOUS[name]
    path = tmp_path / "table.csv"
    write(path)
    with pytest.raises(ValueError, match=r"^load_dataset: '.*table\.csv': ") as error:
        load_dataset(path, reading=Reading(**given))
    said = str(error.value)
    assert "\n" not in said
    for option in wanted:
        ((key, value),) = option.items()
        shown = f"({value!r},)" if key in ("drop", "missing") else repr(value)
        assert f"Reading({key}={shown})" in said, said
        assert f"--{key.replace('_', '-')} " in said, said
        held = (value,) if key in ("drop", "missing") else value
        assert refusal(path, Reading(**{**given, key: held})) != said, "it decides nothing"


def refusal(path: pathlib.Path, reading: Reading) -> str:
    try:
        load_dataset(path, reading=reading)
    except ValueError as error:
        return str(error)
    return ""


READ: dict[str, tuple[Write, dict[str, Any], tuple[int, ...], str]] = {
    "to_csv": (csv(pandas.DataFrame(X), index=True), {"layout": "series_in_rows", "header": True,
               "drop": ("Unnamed: 0",)}, (20, 24), "20 series of 24 samples x 1 channel, no label"),
    "savetxt": (lambda path: np.savetxt(path, X), {"layout": "series_in_rows"}, (20, 24),
                "20 series of 24 samples x 1 channel, no label"),
    "a log": (csv(DATED), {}, (1, 10, 400), "400 times x 10 channels (T0..T9), hourly, no label"),
    "windows": (csv(DATED), {"window": 24, "stride": 4}, (95, 10, 24), "400 times x 10 channels "
                "(T0..T9), hourly, no label; 95 windows of 24 every 4"),
    "windows, a rest": (csv(LOG), {"window": 24, "layout": "time_in_rows"}, (16, 10, 24),
        "400 times x 10 channels (T0..T9), no label; 16 windows of 24 every 24 (16 samples at the "
        "end in none)"),
    "labels": (csv(ROWS.assign(label=LABELS)), {}, (20, 24),
               "20 series of 24 samples x 1 channel, 2 classes"),
    "an index of dates": (csv(LOG.set_index(DATES), index=True, index_label="date"), {},
        (1, 10, 400), "400 times x 10 channels (T0..T9), hourly, no label"),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_one_line_says_what_was_read(name: str, tmp_path: pathlib.Path) -> None:
    write, given, shape, about = READ[name]
    path = tmp_path / "table.csv"
    write(path)
    data = load_dataset(path, reading=Reading(**given))
    assert np.shape(data.train) == shape
    assert data.about == about
    assert data.reading is not None
    again = load_dataset(path, reading=data.reading)
    np.testing.assert_array_equal(again.train, data.train)
    np.testing.assert_allclose(
        read_series(data.train).values.reshape(-1), np.ravel(data.train).astype(np.float32)
    )


def test_a_log_keeps_values_names_and_times(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log.csv"
    DATED.to_csv(path, index=False)
    data = load_dataset(path)
    np.testing.assert_array_equal(data.train[0].T, LOG.to_numpy())
    assert data.channels == tuple(LOG)
    assert (data.times == DATES.to_numpy()).all()
    windows = load_dataset(path, reading=Reading(window=50, stride=30)).train
    for number, window in enumerate(windows):
        np.testing.assert_array_equal(window, data.train[0][:, 30 * number : 30 * number + 50])


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_times_with_zones_come_in_utc(tmp_path: pathlib.Path, zone: str) -> None:
    """Over the change of clocks too, where local hours come twice."""
    hours = pandas.date_range("2024-10-26", "2024-11-05", freq="h", tz=zone)
    frame = pandas.DataFrame({"time": hours, "v": np.arange(len(hours), dtype=float)})
    path = tmp_path / "log.csv"
    frame.to_csv(path, index=False)
    data = load_dataset(path)
    assert (data.times == hours.tz_convert(None).to_numpy()).all()
    assert "hourly" in data.about
    frame["time"] = hours.tz_localize(None)
    frame.to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"times must rise from row to row; got .* in line"):
        load_dataset(path)


@pytest.mark.parametrize(
    ("times", "form", "first"),
    [
        (["13/01/2020 10:00", "13/01/2020 11:00"], None, "2020-01-13T10:00"),
        (["01/13/2020", "01/14/2020"], None, "2020-01-13"),
        (["31.01.2020", "01.02.2020"], None, "2020-01-31"),
        (["2020/01/31 10:00:01.5", "2020/02/01 10:00:01.5"], None, "2020-01-31T10:00:01.5"),
        (["2020-01-31T10:00:00Z", "2020-02-01T10:00:00Z"], None, "2020-01-31T10:00"),
        (["3 Feb 2020", "4 Feb 2020"], "%d %b %Y", "2020-02-03"),
        (["20200131", "20200201"], "%Y%m%d", "2020-01-31"),
        (["2020-01", "2020-02"], None, "2020-01-01"),
    ],
)
def test_times_in_many_forms(
    tmp_path: pathlib.Path, times: list[str], form: str | None, first: str
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("time,v\n" + "\n".join(f"{t},{n}.5" for n, t in enumerate(times)))
    data = load_dataset(path, reading=Reading(time_format=form))
    assert data.times[0] == np.datetime64(first)
    assert data.times[1] > data.times[0]


def test_rhythms_are_said(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log.csv"
    rhythms = {"15min": "every 15 min", "D": "daily", "MS": "monthly", "YS": "yearly", "s": "every "
               "second", "7D": "every 7 day", "90s": "every 90 s"}  # fmt: skip
    for code, word in rhythms.items():
        times = pandas.date_range("2021-01-01", periods=30, freq=code)
        pandas.DataFrame({"time": times, "v": range(30)}).to_csv(path, index=False)
        assert f"(v), {word}, " in load_dataset(path).about
    pandas.DataFrame({"time": times.delete(3), "v": range(29)}).to_csv(path, index=False)
    assert "irregular times" in load_dataset(path).about
    pandas.DataFrame({"time": np.arange(30) / 4, "v": range(30)}).to_csv(path, index=False)
    data = load_dataset(path)
    assert "a time every 0.25" in data.about
    assert data.times[1] == 0.25


def test_long_and_stacked_tables(tmp_path: pathlib.Path) -> None:
    """The same two series of unequal length, in three forms and any order of rows."""
    parts = {"b": DATED[:30], "a": DATED[5:25]}
    stacked = pandas.concat([part.assign(id=name, kind=name * 2) for name, part in parts.items()])
    path = tmp_path / "table.csv"
    wanted = [part[list(LOG)].to_numpy().T for part in parts.values()]
    long = stacked.melt(["id", "kind", "date"], var_name="channel")
    forms: list[tuple[Any, dict[str, Any]]] = [
        (stacked, {"label": "kind"}),
        (long, {"label": "kind"}),
        (long.drop(columns="kind").rename(columns={"id": "unique_id", "date": "ds"}), {}),
        (long.sample(frac=1, random_state=1).sort_values("channel", kind="stable")
         .rename(columns={"id": "who", "value": "what"}),
         {"layout": "long", "id": "who", "value": "what", "label": "kind"}),
    ]  # fmt: skip
    for frame, options in forms:
        frame.to_csv(path, index=False)
        data = load_dataset(path, reading=Reading(**options))
        order = list(dict.fromkeys(frame.iloc[:, frame.columns.isin(["id", "who", "unique_id"])]
                                   .iloc[:, 0]))  # fmt: skip
        for one, name in zip(data.train, order, strict=True):
            np.testing.assert_array_equal(one, wanted[list(parts).index(name)])
        if "label" in options:
            assert data.train_labels == [name * 2 for name in order]
        assert data.groups == order
    stacked["kind"] = range(len(stacked))
    stacked.to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"a series must have one label; got .*'kind'"):
        load_dataset(path, reading=Reading(label="kind"))


@pytest.mark.parametrize(
    ("content", "channels"),
    [
        ("time (s),v\n0.5,1\n0.75,3\n1.25,2\n", ("v",)),
        ("Time [ms],v\n1,1\n2,3\n4,2\n", ("v",)),
        ("timestamp_ms,v\n1,1\n2,3\n4,2\n", ("v",)),
        ("id,time,value\ns1,0,1\ns1,1,2\ns1,2,3\n", ("value",)),
        ("a,b\n1.5,2,\n3,4,\n", ("a", "b")),
        ("a,b,\n1.5,2,\n3,4,\n", ("a", "b")),
        ("  1.5  2.5\n 10.5  3.5\n", ("0", "1")),
        ("# made by hand\n# a b\n1.5 2.5\n3.5 1.5\n", ("0", "1")),
        ("a;b\r1;2\r3;4\r", ("a", "b")),
        ('"a","b, c"\n"1","2"\n"3","5"\n', ("a", "b, c")),
    ],
)
def test_texts_of_many_hands(
    tmp_path: pathlib.Path, content: str, channels: tuple[str, ...]
) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(content.encode())
    data = load_dataset(path, reading=Reading(layout="time_in_rows"))
    assert data.channels == channels
    assert data.train.shape[1] == len(channels)
    assert not np.isnan(data.train).any()


def test_long_values_twice_or_without_a_channel(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id,time,value\na,0,1\na,1,2\na,1,3\n")
    with pytest.raises(ValueError, match=r"one value at a time; got two, in line 4"):
        load_dataset(path, reading=Reading(layout="long"))
    path.write_text("id,time,channel,value\na,0,u,1\na,1,u,2\na,0,w,3\nb,1,w,5\nb,0,w,4\n")
    data = load_dataset(path, reading=Reading(layout="long"))
    np.testing.assert_array_equal(data.train[0], [[1, 2], [3, np.nan]])
    np.testing.assert_array_equal(data.train[1], [[np.nan, np.nan], [4, 5]])


def test_missing_markers_hold_in_every_row(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.csv"
    for marker in ("", "NA", "nan", "NULL", "n/a", "#N/A", "-"):
        path.write_text(f"{marker},5.5,3\n4,5,1\n2,{marker},1\n")
        reading = Reading(layout="series_in_rows", missing=("-",) if marker == "-" else ())
        data = load_dataset(path, reading=reading)
        np.testing.assert_array_equal(data.train, [[np.nan, 5.5, 3], [4, 5, 1], [2, np.nan, 1]])


def test_ragged_rows(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("t0,t1,t2,label\n1,2,3,1\n1,2,2\n")
    with pytest.raises(ValueError, match=r"only where column 'label' comes before the values; got "
                       r"3 cells in line 3"):  # fmt: skip
        load_dataset(path, reading=Reading(layout="series_in_rows"))
    path.write_text("label,t0,t1,t2\n1,1,2,3\n2,1,2\n")
    data = load_dataset(path, reading=Reading(layout="series_in_rows"))
    np.testing.assert_array_equal(data.train, [[1, 2, 3], [1, 2, np.nan]])
    assert data.train_labels == ["1", "2"]
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match=r"every row must have the same cells, 2, .*got 1 in line"):
        load_dataset(path, reading=Reading(layout="time_in_rows"))
    path.write_text("a,b\n1,2\n3,4,5\n")
    with pytest.raises(ValueError, match=r"no more cells than the header's 2; got 3 in line 3"):
        load_dataset(path, reading=Reading(layout="time_in_rows"))


def test_labels_missing_and_labels_that_look_like_numbers(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.csv"
    ROWS[:3].assign(label=["01", None, "1"]).to_csv(path, index=False)
    assert load_dataset(path).train_labels == ["01", None, "1"]
    ROWS[:3].assign(label=None).to_csv(path, index=False)
    assert load_dataset(path).train_labels is None
    ROWS[:3].assign(label=[1, 2, 1]).to_csv(path, index=False)
    data = load_dataset(path, reading=Reading(label="", layout="series_in_rows"))
    assert data.train.shape == (3, 25)
    data = load_dataset(path, reading=Reading(drop=("label",), layout="series_in_rows"))
    assert (data.train_labels, data.train.shape) == (None, (3, 24))


def test_groups_are_kept(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.csv"
    ROWS[:3].assign(label=list("aba"), subject=["p1", "p1", "p2"]).to_csv(path, index=False)
    data = load_dataset(path, reading=Reading(group="subject"))
    assert data.groups == ["p1", "p1", "p2"]
    data = load_dataset(path, reading=Reading(group="subject", window=12))
    assert data.groups == ["p1", "p1", "p1", "p1", "p2", "p2"]
    assert data.train_labels == ["a", "a", "b", "b", "a", "a"]
    np.testing.assert_array_equal(data.train[2:4].reshape(24), X[1])


@pytest.mark.parametrize("ending", ["csv.gz", "csv.bz2", "csv.xz", "tsv", "txt"])
def test_packed_and_other_texts(tmp_path: pathlib.Path, ending: str) -> None:
    path = tmp_path / f"log.{ending}"
    DATED.to_csv(path, index=False, sep="\t" if ending in ("tsv", "txt") else ",")
    data = load_dataset(path)
    assert (data.name, data.train.shape) == ("log", (1, 10, 400))
    if "." in ending:
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(ValueError, match=r"must be readable; got"):
            load_dataset(path)


def test_twins_are_read_in_the_same_way(tmp_path: pathlib.Path) -> None:
    ROWS[:12].assign(label=LABELS[:12]).to_csv(tmp_path / "x_TRAIN.csv", index=False)
    ROWS[12:].assign(label=LABELS[12:]).to_csv(tmp_path / "x_TEST.csv", index=False)
    data = load_dataset(tmp_path / "x_TRAIN.csv")
    np.testing.assert_array_equal(data.test, X[12:])
    assert data.test_labels == LABELS[12:]
    assert data.about.endswith("for testing 8 series of 24 samples x 1 channel, 2 classes")


def test_sheets(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("openpyxl")
    path = tmp_path / "book.xlsx"
    with pandas.ExcelWriter(path) as book:
        DATED.to_excel(book, sheet_name="one", index=False)
        DATED[:9].to_excel(book, sheet_name="two words", index=False)
    with pytest.raises(ValueError, match=r"one filled sheet; got \['one', 'two words'\].*--sheet"):
        load_dataset(path)
    assert load_dataset(path, reading=Reading(sheet="two words")).train.shape == (1, 10, 9)
    with pytest.raises(ValueError, match=r"sheet must be one of"):
        load_dataset(path, reading=Reading(sheet="three"))


def test_data_frames_are_tables_too() -> None:
    data = load_dataset(LOG.set_index(DATES))
    np.testing.assert_array_equal(data.train[0].T, LOG.to_numpy())
    assert (data.times == DATES.to_numpy()).all()
    with pytest.raises(ValueError, match=r"^load_dataset: 'a data frame': a row must be a series"):
        load_dataset(LOG)
    polars = pytest.importorskip("polars")
    data = load_dataset(polars.DataFrame({"when": DATES.to_numpy(), "v": LOG["T0"].to_numpy()}))
    assert (data.times == DATES.to_numpy()).all()


def test_matrices_of_matlab(tmp_path: pathlib.Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    path = tmp_path / "x.mat"
    scipy_io.savemat(path, {"A": LOG.to_numpy()})
    with pytest.raises(ValueError, match=r"a matrix of \(400, 10\) can be either: pass Reading\("):
        load_dataset(path)
    data = load_dataset(path, reading=Reading(layout="time_in_rows", window=40))
    np.testing.assert_array_equal(data.train[1], LOG.to_numpy()[40:80].T)
    scipy_io.savemat(path, {"A": X, "kind": np.arange(20), "B": X})
    with pytest.raises(ValueError, match=r"must hold X_train or X; got \['A', 'B', 'kind'\]: pass"):
        load_dataset(path)
    data = load_dataset(path, reading=Reading(value="A", label="kind"))
    np.testing.assert_array_equal(data.train, X)
    assert data.train_labels == list(range(20))
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:  # as MATLAB 7.3 writes it
        file["X"] = np.arange(24.0).reshape(4, 3, 2)
    with open(path, "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    assert load_dataset(path).train.shape == (2, 3, 4)


def test_ts_files_of_regression(tmp_path: pathlib.Path) -> None:
    head = "@problemName x\n@timestamps false\n@univariate true\n@targetLabel true\n@data\n"
    path = tmp_path / "x.ts"
    path.write_text(head + "1,2,3,4,5,6,7,8:0.5\n1,2,3,4,5,6,7,9:0.25\n")
    with pytest.raises(
        ValueError, match=r"numbers to predict \(@targetLabel\): pass Reading\(label"
    ):
        load_dataset(path)
    data = load_dataset(path, reading=Reading(label=""))
    assert (data.train.shape, data.train_labels) == ((2, 1, 8), None)


@pytest.mark.parametrize(
    ("head", "rows", "said"),
    [
        ("@univariate true\n@classLabel true a b", "1,2,3:c", "of the header's classes"),
        ("@univariate false\n@classLabel true a b", "1,2,3:4,5,6", "of the header's classes"),
        ("@univariate true\n@classLabel true a b", "1,2,3", "must be readable"),
        ("@univariate true\n@classLabel false", "1,2,3:4,5,6", "one channel"),
        ("@univariate true\n@equalLength true\n@classLabel false", "1,2,3\n4,5", "one length"),
        ("@univariate true\n@classLabel true a A", "1,2,3:a", "more than their case"),
    ],
)
def test_ts_headers_are_held_against_the_rows(
    tmp_path: pathlib.Path, head: str, rows: str, said: str
) -> None:
    path = tmp_path / "x.ts"
    path.write_text(f"@problemName x\n@timestamps false\n{head}\n@data\n{rows}\n")
    with pytest.raises(ValueError, match=said):
        load_dataset(path)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("(0,1),(1,2),(3,3):(0,1),(1,2),(3,3)", "rise evenly"),
        ("(0,1),(1,2),(2,3):(0,1),(1,2),(3,3)", "share their timestamps"),
        ("(2,1),(1,2),(0,3):(2,1),(1,2),(0,3)", "rise evenly"),
    ],
)
def test_timestamps_of_ts_files(tmp_path: pathlib.Path, rows: str, said: str) -> None:
    path = tmp_path / "x.ts"
    head = "@problemName x\n@timestamps true\n@univariate false\n@classLabel false\n@data\n"
    path.write_text(f"{head}{rows}\n")
    with pytest.raises(ValueError, match=said):
        load_dataset(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layout": "rows"}, "layout must be one of"),
        ({"window": 0}, "window must be >= 1; got 0"),
        ({"stride": 3}, "stride needs a window"),
        ({"decimal": ";"}, "decimal must be"),
        ({"decimal": ",", "separator": ","}, "not the separator"),
        ({"drop": "a"}, "tuples of texts"),
        ({"label": "a", "id": "a"}, "one meaning; got 'a' twice"),
    ],
)
def test_readings_are_checked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Reading(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label": "knid"}, r"label must name a column; got 'knid'; did you mean 'kind'\?"),
        ({"window": 21}, r"no longer than the shortest series; got 21 for 20"),
        ({"layout": "long"}, r"one column of values"),
        ({"layout": "time_in_rows", "value": "v0"}, r"value is for long tables"),
        ({"layout": "series_in_rows", "time": "v0"}, r"has no time of its own"),
    ],
)
def test_readings_that_do_not_fit(
    tmp_path: pathlib.Path, options: dict[str, Any], said: str
) -> None:
    path = tmp_path / "x.csv"
    frame = pandas.DataFrame(X[:, :20], columns=[f"v{n}" for n in range(20)])
    frame.assign(kind=LABELS).to_csv(path, index=False)
    reading = Reading(**{"layout": "series_in_rows", "drop": () if "label" in options else
                         ("kind",), **options})  # fmt: skip
    with pytest.raises(ValueError, match=said):
        load_dataset(path, reading=reading)


def test_options_of_tables_are_refused_elsewhere(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "x.npy", X)
    for field in dataclasses.fields(Reading):
        value: Any = {"drop": ("a",), "missing": ("?",), "header": True, "window": 9, "stride": 3,
                      "decimal": ",", "layout": "time_in_rows"}.get(field.name, "a")  # fmt: skip
        extra = {"window": 9} if field.name == "stride" else {}
        reading = Reading(**{field.name: value, **extra})
        if field.name in ("layout", "value", "label", "window", "stride"):
            load_dataset(tmp_path / "x.npy", reading=reading)
            continue
        with pytest.raises(ValueError, match=rf"{field.name} must be left out for a .npy file"):
            load_dataset(tmp_path / "x.npy", reading=reading)


def test_a_missing_library_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ending, module, extra in (
        (".csv", "pandas", "data"), (".parquet", "pyarrow", "files"),
        (".xlsx", "openpyxl", "files"),
    ):  # fmt: skip
        path = tmp_path / f"x{ending}"
        path.write_text("a,b\n1,2\n")
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, module, None)
            with pytest.raises(ImportError, match=re.escape(f"needs {module}; install it with: pip "
                               f"install 'ssltok[{extra}]'")):  # fmt: skip
                load_dataset(path, reading=Reading(layout="time_in_rows"))
