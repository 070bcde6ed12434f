"""The wall: every file is read as those read it who know it, or ends in one line.

`SSLTOK_ALL=1` runs 120 files of each class, otherwise a tenth.
"""

import io
import os
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ssltok.data import Dataset, Reading, load_dataset

pandas = pytest.importorskip("pandas")
library = pytest.importorskip("sktime.datasets")

COUNT = 120 if os.environ.get("SSLTOK_ALL") else 12
Random = np.random.Generator


def read(path: pathlib.Path, reading: Reading | None = None) -> Dataset | None:
    """The data set, or None where the file is refused as it should be."""
    try:
        return load_dataset(path, reading=reading)
    except ValueError as error:
        said = str(error)
        assert said.startswith("load_dataset: "), said
        assert path.name in said, said
        assert "\n" not in said, said
        return None


def mutate(content: bytes, random: Random) -> bytes:
    """Cut, change, insert or repeat a few bytes."""
    kind = random.integers(5)
    place = int(random.integers(1, max(2, len(content))))
    if kind == 0:
        return content[:place]
    if kind == 1:
        changed = bytearray(content)
        for _ in range(int(random.integers(1, 4))):
            changed[int(random.integers(len(changed)))] = int(random.integers(256))
        return bytes(changed)
    if kind == 2:
        extra = [b",", b":", b"\n", b"x", b"?", b"(", b'"', b"@data", b"9", b"-", b" ", b"\x00"]
        return content[:place] + extra[int(random.integers(len(extra)))] + content[place:]
    if kind == 3:
        return content[:place] + content[place + int(random.integers(1, 9)) :]
    return content[:place] + content[max(0, place - 20) :]


def values_of(rows: Random, shape: tuple[int, ...], *, missing: float = 0.1) -> Any:
    values = np.round(rows.normal(size=shape) * 10.0 ** rows.integers(-2, 4), 3)
    return np.where(rows.random(shape) < missing, np.nan, values)


# ------------------------------------------------------------------------------------------ tables


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("layout", ["series_in_rows", "time_in_rows"])
def test_text_tables_are_read_as_pandas_reads_them(
    tmp_path: pathlib.Path, layout: str, broken: bool
) -> None:
    seen = 0
    for seed in range(COUNT):
        random = np.random.default_rng([seed, broken])
        shape = (int(random.integers(2, 30)), int(random.integers(8, 14)))
        values = values_of(random, shape)
        separator = ",;\t|"[int(random.integers(4))]
        decimal = "," if separator != "," and random.random() < 0.3 else "."
        marker = ["", "NA", "nan", "NULL", "?", "-999"][int(random.integers(6))]
        header = bool(random.random() < 0.7)
        frame = pandas.DataFrame(values, columns=[f"v{n}" for n in range(shape[1])])
        label = None
        if layout == "series_in_rows" and random.random() < 0.5:
            label = int(random.choice([0, shape[1]]))
            frame.insert(label, "kind", random.choice(["a", "b", "07"], size=shape[0]))
        text = frame.to_csv(
            None, sep=separator, decimal=decimal, na_rep=marker, header=header, index=False,
            quoting=int(random.integers(2)) if decimal == "." else 0,
        ).replace("\n", "\r\n" if random.random() < 0.3 else "\n")  # fmt: skip
        encoding = ["utf-8", "utf-8-sig", "utf-16", "cp1252"][int(random.integers(4))]
        path = tmp_path / "table.csv"
        content = text.encode(encoding)
        path.write_bytes(mutate(content, random) if broken else content)
        reading = Reading(
            layout=layout, separator=separator, decimal=decimal, header=header,  # type: ignore[arg-type]
            missing=(marker,) if marker in ("?", "-999") else (), encoding=encoding, id="",
            time="", label="" if label is None else "kind" if header else str(label),
        )  # fmt: skip
        data = read(path, reading)
        if not broken:
            assert data is not None, (seed, text[:200])
        if data is None:
            continue
        seen += 1
        width = max(line.count(separator) for line in path.read_text(encoding).splitlines()) + 1
        known = pandas.read_csv(  # rows that are series may be of unequal length
            path, names=None if header else range(width), sep=separator, decimal=decimal,
            header=0 if header else None, encoding=encoding,
            na_values=["?", "-999"] if reading.missing else None, skipinitialspace=True,
            dtype={"kind" if header else label: str} if label is not None else None,
        )  # fmt: skip
        if label is not None:
            column = known.pop("kind" if header else label)
            expected = [None if y != y else y for y in column]
            assert data.train_labels == (expected if any(expected) else None)
        wanted = known.to_numpy(dtype=np.float64)
        got = data.train if layout == "series_in_rows" else data.train[0].T
        np.testing.assert_array_equal(got, wanted[:, : got.shape[1]])
        assert np.isnan(wanted[:, got.shape[1] :]).all()
    assert seen >= (1 if broken else COUNT)


@pytest.mark.parametrize("ending", ["parquet", "feather", "xlsx"])
def test_binary_tables_are_read_as_pandas_reads_them(tmp_path: pathlib.Path, ending: str) -> None:
    pytest.importorskip("openpyxl" if ending == "xlsx" else "pyarrow")
    reader = {"parquet": "read_parquet", "feather": "read_feather", "xlsx": "read_excel"}[ending]
    for seed in range(COUNT):
        random = np.random.default_rng(seed)
        frame = pandas.DataFrame(values_of(random, (12, 3)), columns=["a", "b", "c"])
        frame.insert(0, "when", pandas.date_range("2021-03-01", periods=12, freq="15min"))
        path = tmp_path / f"table.{ending}"
        write = {"parquet": "to_parquet", "feather": "to_feather", "xlsx": "to_excel"}[ending]
        getattr(frame, write)(path, **({"index": False} if ending == "xlsx" else {}))
        if seed % 4:
            path.write_bytes(mutate(path.read_bytes(), random))
        data = read(path)
        assert data is not None or seed % 4
        if data is not None:
            known = getattr(pandas, reader)(path)
            np.testing.assert_array_equal(data.train[0].T, known[list(data.channels)].to_numpy())
            assert (data.times == known["when"].to_numpy()).all()


# ---------------------------------------------------------------------------------- sktime's files


def ts_file(random: Random) -> tuple[str, Any, list[str] | None, Reading]:
    """A text, the cases in it, their labels as sktime writes them, and how to read it."""
    channels, cases = int(random.integers(1, 4)), int(random.integers(2, 6))
    kind = ["class", "target", "none"][int(random.integers(3))]
    clock, ragged = random.random() < 0.5, random.random() < 0.5
    dated = clock and random.random() < 0.5
    lengths = random.integers(8, 13, size=cases) if ragged else np.full(cases, 9)
    series = [values_of(random, (channels, int(n)), missing=0 if clock else 0.1) for n in lengths]
    labels = None
    if kind == "class":
        labels = [str(y) for y in random.choice(["up", "down"], size=cases)]
    elif kind == "target":
        labels = [f"{y:.2f}" for y in random.normal(size=cases)]
    flag = {"class": "@classLabel true up down", "target": "@targetLabel true",
            "none": "@classLabel false"}[kind]  # fmt: skip
    equal = str(not ragged).lower()
    head = (
        f"# a comment\n@problemName x\n@timestamps {str(clock).lower()}\n"
        f"@univariate {str(channels == 1).lower()}\n@equalLength {equal}\n{flag}\n@data\n"
    )
    days = [str(day) for day in np.arange("2020-01-01", "2020-02-01", dtype="datetime64[D]")]
    rows = []
    for case, one in enumerate(series):
        cells = [
            [f"({days[n] if dated else n},{v})" for n, v in enumerate(row)] if clock
            else ["?" if v != v else str(v) for v in row]
            for row in one
        ]  # fmt: skip
        parts = [",".join(row) for row in cells] + ([] if labels is None else [labels[case]])
        rows.append(":".join(parts))
    return (
        head + "\n".join(rows) + "\n",
        series,
        labels,
        Reading(label="" if kind == "target" else None),
    )


def stacked(train: Any) -> list[Any]:
    return [np.asarray(one) for one in train]


def of_sktime(found: Any) -> tuple[list[Any], list[str] | None]:
    frame, labels = found if isinstance(found, tuple) else (found, None)
    cases = []
    for row in frame.itertuples(index=False):
        cells = [np.asarray(cell, dtype=np.float64) for cell in row]
        longest = max(map(len, cells))
        cases.append(np.stack([np.pad(c, (0, longest - len(c)), constant_values=np.nan)
                               for c in cells]))  # fmt: skip
    return cases, None if labels is None else [str(y) for y in labels]


def test_ts_files_are_read_as_they_were_written(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.ts"
    for seed in range(COUNT):
        text, series, labels, reading = ts_file(np.random.default_rng(seed))
        path.write_text(text)
        data = read(path, reading)
        assert data is not None, text
        for one, other in zip(stacked(data.train), series, strict=True):
            np.testing.assert_array_equal(one, other)
        assert data.train_labels == (None if reading.label == "" else labels)


def test_broken_ts_files_are_read_as_sktime_reads_them(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.ts"
    for seed in range(4 * COUNT):
        random = np.random.default_rng([seed, 1])
        text, _, _, reading = ts_file(random)
        if reading.label == "":
            continue  # sktime reads no targets beside timestamps
        path.write_bytes(mutate(text.encode(), random))
        data = read(path, reading)
        if data is not None:
            series, labels = of_sktime(library.load_from_tsfile_to_dataframe(str(path)))
            for one, other in zip(stacked(data.train), series, strict=True):
                np.testing.assert_array_equal(one, other)
            if labels is not None:
                assert [str(y) for y in data.train_labels or []] == labels


def test_arff_and_tsf_files_are_read_as_sktime_reads_them(tmp_path: pathlib.Path) -> None:
    for seed in range(2 * COUNT):
        random = np.random.default_rng([seed, 2])
        values = values_of(random, (int(random.integers(2, 5)), 9))
        rows = [",".join("?" if v != v else str(v) for v in row) for row in values]
        if seed % 2:
            path = tmp_path / "x.arff"
            head = "@relation x\n" + "".join(f"@attribute a{n} numeric\n" for n in range(9))
            head += "@attribute kind {u,v}\n@data\n"
            text = head + "\n".join(f"{row},{'uv'[n % 2]}" for n, row in enumerate(rows))
        else:
            path = tmp_path / "x.tsf"
            head = (
                "@relation x\n@attribute series_name string\n@attribute start_timestamp date\n"
                "@frequency hourly\n@horizon 4\n@missing true\n@equallength true\n@data\n"
            )
            rows = [f"T{n}:2020-01-0{n + 1} 00-00-00:{row}" for n, row in enumerate(rows)]
            text = head + "\n".join(rows)
        whole = seed % 4 < 2
        path.write_bytes(text.encode() if whole else mutate(text.encode(), random))
        data = read(path)
        assert data is not None or not whole, text
        if data is None:
            continue
        if seed % 2:
            series, labels = of_sktime(library.load_from_arff_to_dataframe(str(path)))
            assert [str(y) for y in data.train_labels or []] == labels
        else:
            frame, _ = library.load_tsf_to_dataframe(
                str(path), return_type="default_tsf", replace_missing_vals_with=np.nan
            )
            series = [np.asarray(v, dtype=np.float64)[None] for v in frame["series_value"]]
        for one, other in zip(stacked(data.train), series, strict=True):
            np.testing.assert_array_equal(one, other)


# ---------------------------------------------------------------------------------------- archives


@pytest.mark.parametrize("ending", ["npz", "npy", "mat"])
def test_broken_archives_are_read_as_numpy_and_scipy_read_them(
    tmp_path: pathlib.Path, ending: str
) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    for seed in range(COUNT):
        random = np.random.default_rng([seed, 3])
        X, y = values_of(random, (4, 2, 9)), np.array(list("abab"))
        path, stream = tmp_path / f"x.{ending}", io.BytesIO()
        if ending == "npz":
            (np.savez if seed % 2 else np.savez_compressed)(stream, X=X, y=y)
        elif ending == "npy":
            np.save(stream, X)
        else:
            scipy_io.savemat(stream, {"X": X}, do_compression=bool(seed % 2))
        content = stream.getvalue()
        path.write_bytes(mutate(content, random) if seed % 4 else content)
        data = read(path)
        assert data is not None or seed % 4
        if data is None:
            continue
        if ending == "npz":
            with np.load(path, allow_pickle=False) as known:
                np.testing.assert_array_equal(data.train, known["X"])
                if "y" in known:
                    assert data.train_labels == known["y"].tolist()
        elif ending == "npy":
            np.testing.assert_array_equal(data.train, np.load(path, allow_pickle=False))
        else:
            np.testing.assert_array_equal(data.train, scipy_io.loadmat(path)["X"])


def header(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (117 - len(text)) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "member",
    [
        header("(1000000000000, 9)") + b"\0" * 72,
        header("(4611686018427387904, 99)"),
        header("(-1, 9)"),
        header("(2, 9)") + b"\0" * 200,
        b"\x93NUMPY",
        b"",
    ],
    ids=["huge", "overflowing", "negative", "longer", "cut", "empty"],
)
@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_declared_shapes_are_held_against_the_bytes(
    tmp_path: pathlib.Path, member: bytes, ending: str
) -> None:
    path = tmp_path / f"x.{ending}"
    if ending == "npy":
        path.write_bytes(member)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("X.npy", member)
    assert read(path) is None


def test_an_archive_cut_in_the_middle_or_of_noise(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, X=values_of(np.random.default_rng(0), (40, 1, 99)))
    content = bytearray(path.read_bytes())
    noise = np.random.default_rng(1).integers(256, size=len(content) // 2, dtype=np.uint8)
    damage: list[Callable[[], bytes]] = [
        lambda: bytes(content[: len(content) // 2]),
        lambda: bytes(content[:60]) + noise.tobytes() + bytes(content[60 + len(noise) :]),
        lambda: noise.tobytes(),
    ]
    for make in damage:
        path.write_bytes(make())
        assert read(path) is None
