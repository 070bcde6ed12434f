"""What a fitted model makes of series on disk, block by block: the bits of the rows in memory."""

import functools
import pathlib
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssltok.data import ArraySource, WindowSource
from ssltok.pipelines import SSLTokenizer
from ssltok.pipelines._large import _encode_rows, _in_blocks
from tests.pipelines.small import series, small

FITTING = ("encode", "transform", "token_vectors", "reconstruct", "score")
LONGER = ("encode", "reconstruct")


@functools.cache
def model(kind: str) -> SSLTokenizer:
    x = series(19, channels=2, length=30).astype(np.float64)
    layout = "channels_last" if kind == "last" else None
    x = x + 1e7 if kind == "far" else x
    x = np.ascontiguousarray(x.swapaxes(1, 2)) if kind == "last" else x
    return SSLTokenizer(small(2), layout=layout, progress=False).fit(x)


@functools.cache
def kinds() -> dict[str, tuple[str, NDArray[Any]]]:
    """The kind of model, and rows for it; the last three are longer than the model."""
    x = series(23, channels=2, length=30).astype(np.float64)
    gaps, far = x.copy(), x + 1e7
    gaps[4:9, :, 22:] = gaps[12, 1, 3:9] = gaps[20, 0] = np.nan
    early = gaps.copy()
    early[:, :, 25:] = np.nan
    long = series(11, channels=2, length=77).astype(np.float64)
    ragged = long.copy()
    ragged[::3, :, 41:] = ragged[1, 1, 20:50] = np.nan
    all_early = ragged.copy()
    all_early[:, :, 70:] = np.nan
    return {
        "float32": ("plain", x.astype(np.float32)),
        "float16": ("plain", x.astype(np.float16)),
        "big endian": ("plain", x.astype(">f8")),
        "integers": ("plain", (10 * x).astype(np.int16)),
        "short": ("plain", x[:, :, :21]),
        "gaps": ("plain", gaps),
        "early": ("plain", early),
        "far": ("far", far),
        "far with gaps": ("far", np.where(np.isnan(gaps), np.nan, far)),
        "channels last": ("last", np.ascontiguousarray(x.swapaxes(1, 2))),
        "long": ("plain", long.astype(np.float32)),
        "long and ragged": ("plain", ragged),
        "long, all end early": ("plain", all_early),
    }


def cases() -> list[tuple[str, str]]:
    return [(kind, method) for kind in kinds()
            for method in (LONGER if kind.startswith("long") else FITTING)]  # fmt: skip


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_in_blocks, "AT_ONCE", 4)
    monkeypatch.setattr(_encode_rows, "AT_ONCE", 4)


@pytest.mark.parametrize(("kind", "method"), cases())
def test_rows_on_disk_give_what_they_give_in_memory(
    kind: str, method: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, x = kinds()[kind]
    np.save(tmp_path / "X.npy", x)
    fitted, mapped = model(name), np.load(tmp_path / "X.npy", mmap_mode="r")
    found = getattr(fitted, method)(mapped)
    np.testing.assert_array_equal(found, getattr(fitted, method)(x))
    if name != "last":
        np.testing.assert_array_equal(getattr(fitted, method)(ArraySource(x)), found)
    assert [file.name for file in tmp_path.iterdir()] == ["X.npy"]  # no pass was made
    monkeypatch.setattr(_in_blocks, "AT_ONCE", 99)  # and what the whole gives at once
    whole = getattr(fitted, method)(x)
    assert np.shape(whole) == np.shape(found)
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("method", FITTING)
def test_a_block_is_all_that_is_read_at_once(method: str) -> None:
    class Watched(ArraySource):
        most = 0

        def take(self, rows: Any) -> NDArray[Any]:
            if not isinstance(rows, slice):  # a slice looks for the longest, in views
                self.most = max(self.most, len(rows))
            return super().take(rows)

    source = Watched(kinds()["gaps"][1])
    getattr(model("plain"), method)(source)
    assert source.most == 4


def test_windows_are_encoded_without_being_cut() -> None:
    long = np.cumsum(np.random.default_rng(0).standard_normal((2, 130)), axis=1)
    cut = np.stack([long[:, begin : begin + 30] for begin in range(0, 101, 7)])
    np.testing.assert_array_equal(
        model("plain").encode(WindowSource(long, 30, 7)), model("plain").encode(cut)
    )


def bad() -> dict[str, tuple[str, NDArray[Any]]]:
    x = series(9, channels=2, length=30).astype(np.float64)
    worse = {name: x.copy() for name in ("infinite", "too large", "empty", "short")}
    worse["infinite"][7, 1, 3] = -np.inf
    worse["too large"][6, 0, 29] = 2e18
    worse["empty"][5] = np.nan
    worse["short"][:, :, 7:] = np.nan
    worse["channels"] = x[:, :1]
    worse["longer"] = np.concatenate([x, x], axis=2)
    return {
        name: ("encode" if name != "longer" else "transform", array)
        for name, array in {**worse, "complex": x + 1j, "text": x.astype("U8")}.items()
    }


@pytest.mark.parametrize("name", bad())
def test_what_is_refused_in_memory_is_refused_on_disk(name: str, tmp_path: pathlib.Path) -> None:
    method, x = bad()[name]
    np.save(tmp_path / "X.npy", x)
    errors = []
    for part in (x, np.load(tmp_path / "X.npy", mmap_mode="r")):
        with pytest.raises((ValueError, TypeError)) as caught:
            getattr(model("plain"), method)(part)
        errors.append((caught.type, str(caught.value)))
    assert errors[0][0] is errors[1][0]
    if name not in ("channels", "complex", "text"):  # which name one series, or all of a block
        assert errors[0] == errors[1]
    assert str(errors[1][1]).startswith(f"SSLTokenizer.{method}: ")


def test_the_rows_of_a_block_depend_on_the_shape_alone() -> None:
    x = torch.zeros(10, 1, 8)
    from ssltok.data import read_series

    data = read_series(x + torch.arange(8.0))
    assert [part.cases for part in _in_blocks.blocks_of(data)] == [4, 4, 2]
