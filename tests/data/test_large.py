"""Series larger than memory: the sets of memory, one pass, and a side file to be trusted."""

import os
import pathlib
import pickle
import time
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssltok.data import (
    ArraySource,
    SeriesSource,
    SourceSet,
    TableSource,
    WindowSource,
    read_series,
    read_source,
)
from ssltok.data._large import _blocks, _pass, _side_file
from ssltok.signal import ChannelScaler, GlobalScaler
from tests.ranks import Ranks

Arrays = dict[str, NDArray[Any]]


def arrays() -> Arrays:
    """Arrays of every kind that the door takes, with channels of unequal scales."""
    random = np.random.default_rng(3)
    x = random.standard_normal((37, 3, 24)) * np.array([1.0, 1e-3, 40.0])[:, None] + [[0], [0], [9]]
    far = x + np.array([0.0, 1e4, -1e6])[:, None]
    gaps = x.copy()
    gaps[4, 0, 3:9] = gaps[7, 2] = gaps[30:, :, 17:] = np.nan
    short, constant = gaps.copy(), x.copy()
    short[:, :, 19:] = np.nan
    constant[:, 1], constant[:, 2] = 5.0, 0.1
    return {
        "float32": x.astype(np.float32),
        "float64": x,
        "float16": x.astype(np.float16),
        "big endian": x.astype(">f4"),
        "int32": (100 * x).astype(np.int32),
        "uint8": random.integers(0, 256, (20, 1, 9)).astype(np.uint8),
        "a table": np.cumsum(x[:, 0], axis=1),
        "far": far,
        "gaps": gaps,
        "gaps, float32": gaps.astype(np.float32),
        "far with gaps": np.where(np.isnan(gaps), np.nan, far),
        "all end early": short,
        "constant": constant,
        "fortran": np.asfortranarray(x),
    }


def mapped(folder: pathlib.Path, array: NDArray[Any], *, aged: bool = True) -> Any:
    """A memory-mapped copy, which was written a while ago."""
    np.save(folder / "X.npy", array)
    if aged:
        time.sleep(_side_file.TICK)
    return np.load(folder / "X.npy", mmap_mode="r")


def check_equal(got: SourceSet, array: Any, **options: Any) -> None:
    expected = read_series(array, **options)
    assert got.shape == expected.shape
    taken = got.take(torch.arange(len(array)))
    for a, b in zip(expected, taken, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    order = torch.tensor([5, 0, 5, 11])
    torch.testing.assert_close(
        got.take(order).values, expected.values[order], rtol=0, atol=0, equal_nan=True
    )
    assert torch.equal(got.lengths, expected.lengths)
    assert torch.equal(got.offset, expected.offset)
    scaler = ChannelScaler().fit(expected.values, expected.valid)
    other = ChannelScaler().fit_moments(got.statistics.moments)
    assert torch.equal(scaler.mean, other.mean)
    assert torch.equal(scaler.scale, other.scale)


@pytest.mark.parametrize("name", arrays())
def test_a_mapped_array_is_the_set_in_memory(name: str, tmp_path: pathlib.Path) -> None:
    array = arrays()[name]
    check_equal(read_source(mapped(tmp_path, array)), array)
    again = read_source(np.load(tmp_path / "X.npy", mmap_mode="r"))
    check_equal(again, array)  # from the side file
    check_equal(read_source(ArraySource(array)), array)
    longer = read_source(np.load(tmp_path / "X.npy", mmap_mode="r"), length=31)
    check_equal(longer, array, length=31)
    if array.ndim == 3:
        turned = np.ascontiguousarray(array.swapaxes(1, 2))
        last = read_source(mapped(tmp_path, turned), layout="channels_last")
        check_equal(last, turned, layout="channels_last")


def test_views_of_a_mapped_array_are_kept_apart(tmp_path: pathlib.Path) -> None:
    whole = mapped(tmp_path, arrays()["float64"])
    for view in (whole, whole[3:], whole[:, :1], whole[::2], whole[:, ::-1]):
        check_equal(read_source(view), np.array(view))


def bad_arrays() -> Arrays:
    x = arrays()["float64"]
    kinds = {name: x.copy() for name in ("nothing", "infinite", "large", "silent", "far", "tiny")}
    kinds["nothing"][7] = np.nan
    kinds["infinite"][36, 1, 3] = -np.inf
    kinds["large"][2, 0, 0] = 2e18
    kinds["silent"][:, 1] = np.nan
    kinds["far"][:, 1] = 1e12 + x[:, 1]
    kinds["tiny"][:, 0] = 1e-32 * x[:, 0]
    short = np.full((4, 2, 20), np.nan)
    short[:, :, :7] = x[:4, :2, :7]
    side = np.cumsum(np.random.default_rng(0).standard_normal((30, 60, 9)), axis=1)
    return {
        **kinds, "short": short, "complex": x + 1j, "texts": x.astype(str),
        "times": np.cumsum(np.random.default_rng(1).standard_normal((300, 12)), axis=0),
        "on its side": side,
        "large, float32": kinds["large"].astype(np.float32),
    }  # fmt: skip


@pytest.mark.parametrize("name", bad_arrays())
def test_what_is_refused_in_memory_is_refused_on_disk(name: str, tmp_path: pathlib.Path) -> None:
    array = bad_arrays()[name]
    with pytest.raises((ValueError, TypeError)) as expected:
        read_series(array)
    with pytest.raises(expected.type) as got:
        read_source(mapped(tmp_path, array)).measure()
    rule = str(expected.value).split(" must ")[1].split(";")[0].split("(")[0]
    assert rule in str(got.value)
    assert not list(tmp_path.glob("*.ssltok"))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_blocks, "WHOLE", 0)
    monkeypatch.setattr(_blocks, "BLOCK", 500)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", ["float32", "far with gaps", "constant", "all end early"])
def test_many_blocks_are_summed_as_one(name: str) -> None:
    source = ArraySource(arrays()[name])
    assert _blocks.block_rows(len(source), source.channels, source.length) < 10
    got, expected = read_source(source), read_series(arrays()[name])
    x = np.where(expected.valid.numpy(), expected.values.double().numpy(), np.nan)
    moments = got.statistics.moments
    np.testing.assert_allclose(moments.mean, np.nanmean(x, (0, 2)), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(moments.squares / moments.counts, np.nanvar(x, (0, 2)), rtol=1e-12,
                               atol=1e-30)  # fmt: skip
    assert torch.equal(got.offset, expected.offset)
    assert torch.equal(got.lengths, expected.lengths)
    scaler = GlobalScaler().fit_moments(moments)
    whole = GlobalScaler().fit(expected.values, expected.valid)
    torch.testing.assert_close(scaler.mean, whole.mean, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(scaler.scale, whole.scale, rtol=1e-6, atol=0)


def measured(name: str) -> tuple[Any, ...]:
    _blocks.WHOLE, _blocks.BLOCK = 0, 500
    try:
        return tuple(read_source(ArraySource({**arrays(), **bad_arrays()}[name])).statistics)
    except (ValueError, TypeError) as error:
        return (type(error), str(error))
    finally:
        _blocks.WHOLE, _blocks.BLOCK = 2**22, 2**19


@pytest.mark.parametrize("name", ["float32", "far with gaps", "infinite"])
def test_processes_share_the_pass_and_agree(name: str, two_ranks: Ranks) -> None:
    alone = measured(name)
    shares = two_ranks.run(measured, (name,), (name,))
    if name == "infinite":
        assert all(share[0] is ValueError for share in shares)
        assert alone in shares
        return
    for share in shares:
        assert all(torch.equal(a, b) for a, b in zip(alone[0], share[0], strict=True))
        assert torch.equal(alone[1], share[1])
        assert torch.equal(alone[2], share[2])
        assert alone[3:] == share[3:]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the passes over all blocks."""
    counted: list[int] = []
    run = _pass._Pass._run

    def counting(self: Any, read: Any) -> None:
        counted.append(1)
        run(self, read)

    monkeypatch.setattr(_pass._Pass, "_run", counting)
    return counted


def test_a_second_start_reads_nothing(tmp_path: pathlib.Path, passes: list[int]) -> None:
    first = read_source(mapped(tmp_path, arrays()["float64"])).measure()
    again = read_source(np.load(tmp_path / "X.npy", mmap_mode="r")).measure()
    assert len(passes) == 1
    assert again.digest() == first.digest()
    # Another process may write into such an array at any time.
    writable = np.load(tmp_path / "X.npy", mmap_mode="r+")
    read_source(writable).measure()
    assert len(passes) == 2


def other_size(file: pathlib.Path) -> None:
    np.save(file, arrays()["float64"][1:])


def other_value(file: pathlib.Path) -> None:
    x = arrays()["float64"]
    x[3, 1, 5] += 1e-3
    np.save(file, x)


def other_value_in_place(file: pathlib.Path) -> None:
    x = np.load(file, mmap_mode="r+")
    x[3, 1, 5] += 1e-3
    x.flush()


def other_value_with_old_time(file: pathlib.Path) -> None:
    facts = os.stat(file)
    other_value(file)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def replaced_with_old_time(file: pathlib.Path) -> None:
    facts = os.stat(file)
    other = file.with_name("other.npy")
    other_value(other)
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    other.replace(file)


def torn_side_file(file: pathlib.Path) -> None:
    side = file.with_name("X.npy.ssltok")
    side.write_bytes(side.read_bytes()[:-40])


def no_side_file(file: pathlib.Path) -> None:
    file.with_name("X.npy.ssltok").write_bytes(b"notes of mine")


CHANGES = [
    other_size, other_value, other_value_in_place, other_value_with_old_time,
    replaced_with_old_time, torn_side_file, no_side_file,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:fit. statistics could not be kept")
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_kept_is_not_trusted_once_anything_differs(
    change: Any, tmp_path: pathlib.Path, passes: list[int]
) -> None:
    read_source(mapped(tmp_path, arrays()["float64"])).measure()
    change(tmp_path / "X.npy")
    now = np.load(tmp_path / "X.npy", mmap_mode="r")
    check_equal(read_source(now), np.array(now))
    assert len(passes) == 2


def test_data_written_this_moment_are_read_again(
    tmp_path: pathlib.Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_side_file, "TICK", 60.0)
    for turn in (1, 2):
        read_source(mapped(tmp_path, arrays()["float64"], aged=False)).measure()
        assert len(passes) == turn


def test_a_file_that_is_not_ours_is_left_alone(tmp_path: pathlib.Path) -> None:
    array = mapped(tmp_path, arrays()["float64"])
    for content in (b"notes of mine", None):
        side = tmp_path / "X.npy.ssltok"
        if content is None:
            np.savez(side.with_suffix(".npz"), mine=np.arange(3))
            side.with_suffix(".npz").replace(side)
        else:
            side.write_bytes(content)
        before = side.read_bytes()
        with pytest.warns(UserWarning, match="not ours"):
            read_source(array).measure()
        assert side.read_bytes() == before


def test_windows_are_cut_as_they_are_taken() -> None:
    series = np.random.default_rng(0).standard_normal((2, 50))
    source = WindowSource(series, 12, 5)
    naive = np.stack([series[:, begin : begin + 12] for begin in range(0, 50 - 12 + 1, 5)])
    assert isinstance(source, SeriesSource)
    np.testing.assert_array_equal(source.take(slice(0, len(source))), naive)
    np.testing.assert_array_equal(source.take(np.array([3, 1, 3])), naive[[3, 1, 3]])
    got = read_source(source)
    assert torch.equal(got.take(torch.arange(8)).values, read_series(naive).values)
    for size, stride in ((0, 1), (12, 0), (51, 1)):
        with pytest.raises(ValueError, match="size and stride"):
            WindowSource(series, size, stride)


def test_windows_of_a_mapped_series_know_how_they_are_cut(
    tmp_path: pathlib.Path, passes: list[int]
) -> None:
    array = mapped(tmp_path, np.cumsum(arrays()["float64"], axis=2)[0])
    for size, stride in ((12, 5), (12, 4), (12, 5)):
        read_source(WindowSource(array, size, stride)).measure()
    assert len(passes) == 3  # one side file: the last cut's
    read_source(WindowSource(array, 12, 5)).measure()
    assert len(passes) == 3


def test_complaints() -> None:
    with pytest.raises(ValueError, match="got shape"):
        ArraySource(np.zeros(9))
    with pytest.raises(ValueError, match="must hold series"):
        ArraySource(np.zeros((0, 2, 9)))
    with pytest.raises(TypeError, match="got list"):
        read_source([1.0, 2.0])
    with pytest.raises(ValueError, match="at most 20 samples"):
        read_source(ArraySource(arrays()["float64"]), length=20).measure()
    with pytest.raises(ValueError, match="source itself"):
        read_source(ArraySource(arrays()["float64"]), layout="channels_last")


def tables(folder: pathlib.Path, kind: str) -> tuple[pathlib.Path, NDArray[Any]]:
    """A file written by pyarrow in groups of 7 rows, and the rows as they must be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(0)
    x = random.standard_normal((20, 2, 12)).cumsum(axis=2)
    if "ragged" in kind:
        x[3, :, 9:] = x[15, :, 10:] = x[4, 1, 2] = np.nan
    if "float32" in kind:
        x = x.astype(np.float32).astype(np.float64)
    if "wide" in kind:
        x = x[:, :1]
        table = pa.table({f"t{k}": x[:, 0, k] for k in range(12)} | {"name": ["a"] * 20})
    else:
        typed = pa.list_(pa.float32() if "float32" in kind else pa.float64(),
                         12 if "fixed" in kind else -1)  # fmt: skip
        rows = [[[v if v == v else None for v in row]
                 for row in case] for case in x.tolist()]  # fmt: skip
        if "ragged" in kind:
            rows[3] = [row[:9] for row in rows[3]]
            rows[15] = [row[:10] for row in rows[15]]
        columns = {name: pa.array([case[c] for case in rows], typed) for c, name in enumerate("ab")}
        table = pa.table(columns | {"name": pa.array(["x"] * 20)})
    if "folder" in kind:
        folder = folder / "parts"
        folder.mkdir()
        pq.write_table(table[:8], folder / "part-0.parquet", row_group_size=7)
        pq.write_table(table[8:], folder / "part-1.parquet", row_group_size=7)
        return folder, x
    if "parquet" in kind:
        pq.write_table(table, folder / "X.parquet", row_group_size=7)
        return folder / "X.parquet", x
    stream = pa.OSFile(str(folder / "X.arrow"), "wb")
    with stream, pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return folder / "X.arrow", x


TABLES = [
    "parquet", "arrow", "parquet ragged", "arrow ragged", "parquet fixed float32",
    "arrow fixed float32", "parquet wide", "arrow wide", "folder ragged",
]  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_tables_are_read_row_by_row(kind: str, tmp_path: pathlib.Path, passes: list[int]) -> None:
    pytest.importorskip("pyarrow")
    path, x = tables(tmp_path, kind)
    source = TableSource(path)
    assert (len(source), source.channels, source.length) == x.shape
    assert isinstance(source, SeriesSource)
    np.testing.assert_array_equal(source.take(slice(5, 16)), x[5:16])
    index = np.array([19, 0, 7, 6, 8, 7, 13])
    np.testing.assert_array_equal(source.take(index), x[index])
    assert (source.take(index).dtype == np.float32) == ("float32" in kind)
    copied = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copied.take(index), x[index])
    time.sleep(_side_file.TICK)
    check_equal(read_source(source), x)
    check_equal(read_source(TableSource(path)), x)
    assert len(passes) == 1


def test_columns_are_chosen_or_refused(tmp_path: pathlib.Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"x": [[1.0, 2.0]] * 3, "y": [[3, 4]] * 3, "id": [1, 2, 3], "n": list("abc")})
    pq.write_table(table, tmp_path / "X.parquet")
    with pytest.raises(ValueError, match=r"got both in .*columns="):
        TableSource(tmp_path / "X.parquet")
    with pytest.raises(ValueError, match=r"got \['n'\]"):
        TableSource(tmp_path / "X.parquet", columns=["x", "n"])
    source = TableSource(tmp_path / "X.parquet", columns=["y", "x"])
    assert source.take(slice(0, 1)).tolist() == [[[3.0, 4.0], [1.0, 2.0]]]
    with pytest.raises(FileNotFoundError, match="or a folder of"):
        TableSource(tmp_path / "none.parquet")
    (tmp_path / "X.parquet").write_bytes((tmp_path / "X.parquet").read_bytes()[:-9])
    with pytest.raises(ValueError, match="must be a whole file"):
        TableSource(tmp_path / "X.parquet", columns=["x"])
