"""Data sets by name and from every kind of file, and files that cannot be read."""

import pathlib

import numpy as np
import pytest

from ssltok.data import Reading, load_dataset, read_series

X = np.arange(36.0).reshape(4, 1, 9)
TS = "@problemName x\n@timestamps false\n@univariate true\n@classLabel true a b\n@data\n"


def test_npz(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, X_train=X, y_train=[1, 2, 1, 2], X_test=X[:2] + 1, y_test=[1, 2])
    data = load_dataset(str(path))
    assert data.name == "set"
    assert (data.train == X).all()
    assert (data.test == X[:2] + 1).all()
    assert data.train_labels == [1, 2, 1, 2]
    assert data.test_labels == [1, 2]
    np.savez(path, X=X)
    data = load_dataset(str(path))
    assert data.train_labels is None
    assert data.test is None


def test_npy(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "x.npy", X)
    assert (load_dataset(str(tmp_path / "x.npy")).train == X).all()


def test_csv_with_header_labels_and_gaps(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,label,b,c\n1,up,,3\n\n4,down,5,\n")
    rows = Reading(layout="series_in_rows")
    data = load_dataset(path, reading=rows)
    assert data.train_labels == ["up", "down"]
    np.testing.assert_array_equal(data.train[0], [1, np.nan, 3])
    np.testing.assert_array_equal(data.train[1], [4, 5, np.nan])
    path.write_text("1,5,3\n4,5\n")
    data = load_dataset(path, reading=rows)
    assert data.train_labels is None
    np.testing.assert_array_equal(data.train, [[1, 5, 3], [4, 5, np.nan]])


def test_ts_with_its_twin_and_unequal_lengths(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x_TRAIN.ts").write_text(TS + "1,2,3,4,5,6,7,8:a\n1,2,3,4,5,6,7,8,9:b\n")
    (tmp_path / "x_TEST.ts").write_text(TS + "2,2,3,4,5,6,7,8:b\n2,2,3,4,5,6,7,8:a\n")
    data = load_dataset(str(tmp_path / "x_TRAIN.ts"))
    assert data.train_labels == ["a", "b"]
    assert data.test_labels == ["b", "a"]
    assert read_series(data.train).lengths.tolist() == [8, 9]
    assert data.test.shape == (2, 1, 8)


def test_tsv_and_arff(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x_TRAIN.tsv").write_text("1\t5\t6\t7\n2\t8\t9\t10\n")
    data = load_dataset(tmp_path / "x_TRAIN.tsv")
    assert np.asarray(data.train).reshape(2, 3).tolist() == [[5, 6, 7], [8, 9, 10]]
    assert data.train_labels == [1, 2]
    (tmp_path / "x_TEST.tsv").write_text("2\t5\t6\tNaN\n")
    data = load_dataset(tmp_path / "x_TRAIN.tsv", reading=Reading(window=2, stride=1))
    assert (data.train.shape, data.test.shape) == ((4, 1, 2), (1, 1, 2))
    assert (data.train_labels, data.test_labels) == ([1, 1, 2, 2], [2])
    for reading in (Reading(layout="series_in_rows"), Reading(layout="time_in_rows")):
        load_dataset(tmp_path / "x_TRAIN.tsv", reading=reading)
    head = "@relation x\n@attribute a numeric\n@attribute b numeric\n@attribute t {u,v}\n@data\n"
    (tmp_path / "x.arff").write_text(head + "1,2,u\n3,4,v\n")
    data = load_dataset(str(tmp_path / "x.arff"))
    assert np.asarray(data.train).reshape(2, 2).tolist() == [[1, 2], [3, 4]]
    assert data.train_labels == ["u", "v"]


def test_shipped_sets() -> None:
    gun = load_dataset("GunPoint")
    assert gun.train.shape == (50, 1, 150)
    assert gun.test.shape == (150, 1, 150)
    assert set(gun.train_labels or ()) == {"1", "2"}
    vowels = read_series(load_dataset("JapaneseVowels").train)
    assert vowels.values.shape[:2] == (270, 12)
    assert int(vowels.lengths.min()) < int(vowels.lengths.max()) == 26


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.csv", b"a,b\n1,2\n3,x\n", r"x.csv': cells must be numbers; got 'x' in line 3, column"),
        ("x.csv", b"", r"x.csv': must hold rows; got an empty file"),
        ("x.npz", b"PK\x03\x04 broken", r"x.npz' must be readable; got"),
        ("x.npy", b"\x93NUMPY", r"x.npy' must be readable; got"),
        ("x.ts", b"nothing", r"x.ts' must be readable; got"),
    ],
)
def test_broken_files_are_named(
    tmp_path: pathlib.Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    reading = Reading(layout="time_in_rows") if name.endswith("csv") else None
    with pytest.raises(ValueError, match=said):
        load_dataset(str(tmp_path / name), reading=reading)


def test_pickled_arrays_are_refused(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"must be readable; got .*allow_pickle"):
        load_dataset(str(tmp_path / "x.npy"))


def test_unknown_sources() -> None:
    with pytest.raises(FileNotFoundError, match=r"the file must exist; got 'nowhere.npz'"):
        load_dataset("nowhere.npz")
    with pytest.raises(ValueError, match=r"a file must end in .npz, .*; got 'x.docx'"):
        load_dataset("x.docx")


def test_npz_without_series(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "x.npz", Z=X)
    with pytest.raises(ValueError, match=r"must hold X_train or X; got \['Z'\]"):
        load_dataset(str(tmp_path / "x.npz"))
