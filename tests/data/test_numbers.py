"""Laws of numbers: whatever level, scale, type and gap, a set holds what came, or it is refused."""

import decimal
import fractions
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssltok.data import SeriesSet, read_series

EPS = 2.0**-23  # of float32
LIMIT = 2.0**29


def noise(cases: int = 4, channels: int = 2, length: int = 12, seed: int = 0) -> Any:
    """Asymmetric, of unequal scales."""
    x = np.random.default_rng(seed).gamma(2.0, size=(cases, channels, length))
    return x * np.array([1.0, 30.0])[:channels, None]


def known(data: SeriesSet) -> Any:
    return data.in_units().double().numpy()


@given(
    level=st.floats(-1e17, 1e17), other=st.floats(-1e6, 1e6), power=st.integers(-25, 12),
    seed=st.integers(0, 99), holes=st.booleans(),
)  # fmt: skip
def test_a_level_costs_no_digits_or_is_refused(
    level: float, other: float, power: int, seed: int, holes: bool
) -> None:
    """The law of offsets: `read_series(x + c) - c` is `read_series(x)`, for every c and scale."""
    x = noise(seed=seed) * 10.0**power
    if holes:
        x[1, 1, 3:6] = np.nan
    c = np.array([level, other])[:, None]
    moved = x + c
    spread = np.nanmax(x, (0, 2)) - np.nanmin(x, (0, 2))
    size = np.nanmax(np.abs(moved), (0, 2))
    rest = np.nanmax(moved, (0, 2)) - np.nanmin(moved, (0, 2))
    if not ((rest == 0) | (size <= LIMIT * rest)).all():
        with pytest.raises(ValueError, match=r"within 2\*\*29 \(5.4e8\) times their spread"):
            read_series(moved)
        return
    data = read_series(moved)
    # What float64 holds of x + c is what can come back, and float32 of the spread.
    exact = rest > 0
    error = np.nanmax(np.abs(known(data) - moved), (0, 2))
    assert (error <= 2 * EPS * rest).all()
    held = exact & (size <= 2.0**20 * spread)
    assert (np.nanmax(np.abs(known(data) - c - x), (0, 2))[held] <= 4 * EPS * spread[held]).all()
    assert data.values.dtype == torch.float32
    assert (data.offset.numpy() == 0)[size <= 4 * rest].all()


@pytest.mark.parametrize("c", [1e7, -1e7, 1e8, 1e-9, 123456789.125])
def test_a_sine_far_from_zero(c: float) -> None:
    x = np.sin(np.arange(40.0))[None].repeat(3, 0) * np.array([[1.0], [0.5], [2.0]])
    far, near = read_series(x + c), read_series(x)
    assert len(np.unique(far.values)) > 100, "today's cast left one"
    np.testing.assert_allclose(known(far) - c, known(near), atol=4 * EPS * 4)
    assert far.in_units().dtype == (torch.float64 if abs(c) > 16 else torch.float32)


def test_without_an_offset_all_bits_stay() -> None:
    x = noise() - 3.0
    data = read_series(x)
    assert torch.equal(data.values, torch.from_numpy(x).float())
    assert data.offset.tolist() == [0.0, 0.0]
    assert data.in_units().dtype == torch.float32
    plain = SeriesSet(*data[:3])  # as 0.1 made them
    assert plain.digest() == data.digest()
    assert torch.equal(plain.in_units(), data.in_units())
    assert read_series(x + 1e6).digest() != read_series(x + 2e6).digest()


def test_the_offset_is_taken_at_four_spreads() -> None:
    x = np.tile([[[0.0, 1.0]]], (1, 1, 8))
    assert read_series(x + 3.0).offset.tolist() == [0.0]  # largest 4, spread 1
    assert read_series(x - 4.0).offset.tolist() == [0.0]
    assert read_series(x + 3.5).offset.tolist() == [4.0]
    assert read_series(x - 4.5).offset.tolist() == [-4.0]


def test_offsets_are_of_channels_and_do_not_depend_on_the_order_of_cases() -> None:
    x = noise(cases=7) + np.array([[0.0], [1e9]])
    first, second = read_series(x), read_series(x[::-1])
    assert first.offset[0] == 0
    assert first.offset[1] == pytest.approx(x[:, 1].mean(), abs=1e-6)
    assert torch.equal(first.offset, second.offset)
    ragged = read_series([x[0], x[1, :, :9], x[2]])
    np.testing.assert_allclose(known(ragged)[1, :, :9], x[1, :, :9], atol=1e-4)


def test_a_given_offset_and_another_one() -> None:
    x = noise() + np.array([[0.0], [1e9]])
    train = read_series(x)
    later = read_series(x[:2] + 5.0, offset=train.offset)
    assert torch.equal(later.offset, train.offset)
    np.testing.assert_allclose(known(later), x[:2] + 5.0, atol=1e-4)
    moved = read_series(x[:2] + 5.0).about(train.offset)
    np.testing.assert_allclose(known(moved), x[:2] + 5.0, atol=1e-4)
    none = read_series(x, offset=torch.zeros(1, dtype=torch.float64))
    assert not none.offset.any()
    assert torch.equal(train.take(torch.tensor([1])).offset, train.offset)


@pytest.mark.parametrize("level", [0.0, 5.0, 0.1, -1e17, 1e-30])
def test_a_constant_comes_back_exactly(level: float) -> None:
    x = noise()
    x[:, 1] = level
    assert (known(read_series(x))[:, 1] == level).all()


def test_limits_are_named() -> None:
    x = np.sin(np.arange(40.0))[None] + 1e15
    with pytest.raises(ValueError, match=r"got 1e\+15 with a spread of 2 in channel 0; subtract"):
        read_series(x)
    with pytest.raises(ValueError, match=r"at most 1e\+18 in size; got 1e\+20, finite but too lar"):
        read_series(np.full((1, 9), 1e20))
    with pytest.raises(ValueError, match=r"must be finite; got infinity in series 1"):
        read_series(np.array([[1.0] * 8, [-np.inf] * 8]))
    with pytest.raises(ValueError, match=r"must differ by at least 1e-30, for float32 loses"):
        read_series(np.sin(np.arange(40.0))[None] * 1e-38)


CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "float64": lambda x: x,
    "float32": lambda x: x.astype(np.float32),
    "float16": lambda x: x.astype(np.float16),
    "longdouble": lambda x: x.astype(np.longdouble),
    "int8": lambda x: x.astype(np.int8),
    "int64": lambda x: x.astype(np.int64),
    "uint64": lambda x: x.astype(np.uint64),
    "bool": lambda x: x > 4,
    "fortran": np.asfortranarray,
    "big endian": lambda x: x.astype(">f8"),
    "object": lambda x: x.astype(object),
    "object of cases": lambda x: np.array([*x, None], dtype=object)[:-1],
    "fractions": lambda x: np.vectorize(fractions.Fraction, otypes=[object])(x),
    "decimals": lambda x: np.vectorize(lambda v: decimal.Decimal(float(v)), otypes=[object])(x),
    "lists": lambda x: x.tolist(),
    "tuples": lambda x: tuple(tuple(map(tuple, case)) for case in x),
    "list of arrays": list,
    "tensor": torch.from_numpy,
    "double tensor with gradient": lambda x: torch.from_numpy(x).requires_grad_(),
    "bfloat16": lambda x: torch.from_numpy(x).bfloat16(),
    "int tensor": lambda x: torch.from_numpy(x).int(),
    "bool tensor": lambda x: torch.from_numpy(x > 4),
    "list of tensors": lambda x: [*torch.from_numpy(x)],
    "nested tensor": lambda x: torch.nested.nested_tensor([*torch.from_numpy(x)]),
    "masked": lambda x: np.ma.masked_array(x, mask=np.zeros(x.shape, bool)),
    "matrix of one channel": lambda x: np.asmatrix(x[:, 0]),
    "array protocol": lambda x: type("Foreign", (), {"__array__": lambda *_, **__: x})(),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass", "ignore:The PyTorch API of nested")
@pytest.mark.parametrize("name", CONTAINERS)
def test_every_type_of_number_is_read_as_it_is(name: str) -> None:
    x = np.floor(noise() % 9)  # small whole numbers, which all of them hold
    x[0, 1, 0] = 8.0
    expected = (x > 4).astype(float) if "bool" in name else x
    expected = expected[:, :1] if name.startswith("matrix") else expected
    np.testing.assert_array_equal(known(read_series(CONTAINERS[name](x))), expected)


def test_a_double_tensor_keeps_its_digits() -> None:
    x = torch.sin(torch.arange(40.0, dtype=torch.float64))[None, None] + 1e8
    np.testing.assert_allclose(known(read_series(x)), x.numpy(), atol=1e-6)


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "complex": (lambda x: x + 1j, r"complex numbers; give real and imaginary"),
    "complex tensor": (lambda x: torch.from_numpy(x + 1j), r"complex numbers"),
    "complex objects": (lambda x: (x + 1j).astype(object), r"\(complex\)"),
    "datetime64": (lambda x: x.astype("M8[s]"), r"got times"),
    "timedelta64": (lambda x: x.astype("m8[s]"), r"got spans of time"),
    "text": (lambda x: x.astype(str), r"got texts"),
    "bytes": (lambda x: x.astype(bytes), r"got texts"),
    "list of text": (lambda x: x.astype(str).tolist(), r"got texts"),
    "text among objects": (lambda x: np.where(x > 9, "high", x.astype(object)), r"'high' \(str\)"),
    "timestamps": (
        lambda x: np.full(x.shape, pd.Timestamp("2020"), dtype=object),
        r"\(Timestamp\)",
    ),
    "sparse matrix": (lambda x: scipy.sparse.csr_matrix(x[:, 0]), r"got sparse csr_matrix"),
    "sparse array": (lambda x: scipy.sparse.coo_array(x[:, 0]), r"got sparse coo_array"),
    "list of sparse": (lambda x: [scipy.sparse.csr_matrix(c) for c in x], r"got sparse"),
    "sparse tensor": (lambda x: torch.from_numpy(x).to_sparse(), r"tensors must be dense"),
    "meta tensor": (lambda x: torch.empty(x.shape, device="meta"), r"got torch.float32, .*meta"),
    "records": (lambda x: x[:, 0].copy().view([("a", float), ("b", float)]), r"got records"),
    "set": (lambda x: {1.0}, r"must be an array, a tensor or a list"),
    "iterator": (iter, r"must be an array, a tensor or a list"),
    "text alone": (lambda x: "1 2 3", r"must be an array, a tensor or a list"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_number_is_refused(name: str) -> None:
    make, said = REFUSED[name]
    with pytest.raises(TypeError, match=rf"^me: .*{said}"):
        read_series(make(noise() + 5.0), who="me")


@pytest.mark.parametrize("value", [2**53 + 1, -(2**63) + 1])
@pytest.mark.parametrize("dtype", [np.int64, object])
def test_integers_that_float64_rounds_are_refused(value: int, dtype: Any) -> None:
    with pytest.raises(ValueError, match=rf"integers up to 2\*\*53 among them; got {value}"):
        read_series(np.full((1, 9), value, dtype=dtype))
    assert known(read_series(np.full((1, 9), 2**53, dtype=dtype))).max() == 2.0**53


def test_long_floats_that_float64_rounds_are_refused() -> None:
    if np.finfo(np.longdouble).eps >= np.finfo(np.float64).eps:
        pytest.skip("no longer float here")
    x = np.sin(np.arange(40, dtype=np.longdouble))[None] * 3 + np.longdouble(1e16)
    with pytest.raises(ValueError, match=r"numbers that float64 tells apart"):
        read_series(x)


def holed(fill: Any) -> Callable[[Any], Any]:
    def make(x: Any) -> Any:
        objects = x.astype(object)
        objects[1, 0, 2:4] = fill
        return objects

    return make


def masked(x: Any) -> Any:
    mask = np.zeros(x.shape, bool)
    mask[1, 0, 2:4] = True
    return np.ma.masked_array(np.where(mask, -999.0, x), mask=mask)


MISSING: dict[str, Callable[[Any], Any]] = {
    "nan": lambda x: masked(x).filled(np.nan),
    "None": holed(None),
    "pd.NA": holed(pd.NA),
    "NaT": holed(pd.NaT),
    "None in lists": lambda x: holed(None)(x).tolist(),
    "masked": masked,
    "masked integers": lambda x: masked(np.floor(x)).astype(int),
    "list of masked": lambda x: list(masked(x)),
    "masked objects": lambda x: masked(x).astype(object),
    "nan tensor": lambda x: torch.from_numpy(masked(x).filled(np.nan)),
    "decimal nan": holed(decimal.Decimal("NaN")),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_stays_missing(name: str) -> None:
    x = np.floor(noise())
    data = read_series(MISSING[name](x))
    assert (~data.valid).nonzero().tolist() == [[1, 0, 2], [1, 0, 3]]
    assert np.isnan(known(data)[1, 0, 2:4]).all()
    np.testing.assert_array_equal(known(data)[0], x[0])
    assert data.values.min() >= 0, "the mask's filler is not read"


def test_a_channel_that_was_never_measured_is_refused_by_its_number() -> None:
    x = noise(channels=2)
    x[:, 1] = np.nan
    with pytest.raises(ValueError, match=r"^me: every channel .*; got only NaN in channel 1 of 2"):
        read_series(x, who="me")
    later = read_series(x, offset=torch.zeros(2, dtype=torch.float64))
    assert bool(later.in_units()[:, 1].isnan().all())
    assert bool(later.values[:, 1].isnan().all())
