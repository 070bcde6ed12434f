import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.quantizers import FSQ

TABLE = {
    8: [8, 6, 5],
    10: [8, 5, 5, 5],
    12: [7, 5, 5, 5, 5],
    14: [8, 8, 8, 6, 5],
    16: [8, 8, 8, 5, 5, 5],
}
"""Table 1 of the paper: bits of the codebook to match, and the levels proposed."""


def constants(levels: list[int], *, published: bool = False) -> tuple[np.ndarray, ...]:
    """Half range, offset and shift of the paper's listing; `published` keeps its `tan`."""
    number = np.asarray(levels)
    half = (number - 1) * (1 - 1e-3) / 2
    offset = np.where(number % 2 == 1, 0.0, 0.5)
    ratio = offset / half
    return half, offset, np.tan(ratio) if published else np.arctanh(ratio)


def listing(z: np.ndarray, levels: list[int], *, published: bool = False) -> tuple[np.ndarray, ...]:
    """The paper's quantizer in float64: values before rounding, normalised values, indices."""
    half, offset, shift = constants(levels, published=published)
    bounded = np.tanh(z + shift) * half - offset
    width = np.asarray(levels) // 2
    basis = np.concatenate(([1], np.cumprod(levels[:-1])))
    indices = ((np.round(bounded) + width) * basis).sum(axis=-1)
    return bounded, np.round(bounded) / width, indices.astype(np.int64)


# --- oracle ---------------------------------------------------------------------------------------


@given(
    levels=st.lists(st.integers(3, 12), min_size=1, max_size=6),
    scale=st.sampled_from([0.1, 1.0, 4.0]),
    seed=st.integers(0, 99),
)
def test_it_is_the_paper_s_listing(levels: list[int], scale: float, seed: int) -> None:
    z = np.random.default_rng(seed).normal(0.3, scale, size=(50, len(levels)))
    vectors, codes, loss = FSQ(levels).double()(torch.from_numpy(z))
    _, values, indices = listing(z, levels)
    torch.testing.assert_close(vectors, torch.from_numpy(values), rtol=0, atol=1e-15)
    assert codes.tolist() == indices.tolist()
    assert loss == 0


@pytest.mark.parametrize("levels", TABLE.values(), ids=str)
def test_it_agrees_with_the_published_code_but_at_its_tan(levels: list[int]) -> None:
    """`tan` for `artanh` moves values by 4e-4 times a level at most; nothing else differs."""
    z = np.random.default_rng(1).normal(size=(4000, len(levels)))
    bounded, values, _ = listing(z, levels, published=True)
    clear = (np.abs(bounded - np.floor(bounded) - 0.5) > 1e-3).all(axis=1)
    assert clear.mean() > 0.95
    vectors = FSQ(levels)(torch.from_numpy(z)).vectors.numpy()
    np.testing.assert_allclose(vectors[clear], values[clear], rtol=0, atol=1e-6)
    _, _, tan = constants(levels, published=True)
    _, _, artanh = constants(levels)
    assert np.abs(tan - artanh).max() < 4e-4


@pytest.mark.parametrize("levels", [[5, 8, 3], [4], [7, 6, 11, 3]], ids=str)
def test_the_gradient_is_that_of_the_bound(levels: list[int]) -> None:
    z = torch.randn(20, len(levels), dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(z)
    half, offset, shift = (torch.from_numpy(np.asarray(c)) for c in constants(levels))
    smooth = ((z + shift).tanh() * half - offset) / (torch.tensor(levels) // 2)
    (expected,) = torch.autograd.grad((smooth * weight).sum(), z)
    quantized = FSQ(levels).double()(z)
    (actual,) = torch.autograd.grad((quantized.vectors * weight).sum(), z)
    torch.testing.assert_close(actual, expected)


# --- known values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "levels"), TABLE.items())
def test_the_paper_s_table_of_levels(bits: int, levels: list[int]) -> None:
    quantizer = FSQ(levels)
    assert quantizer.codebook_size == math.prod(levels)
    assert 0.93 < quantizer.codebook_size / 2**bits < 1.07  # "approximately match"
    assert quantizer.dim == len(levels)
    assert min(levels) >= 5
    codes = torch.arange(quantizer.codebook_size)
    assert torch.equal(codes, quantizer.encode(unbound(quantizer.decode(codes), levels)))
    assert torch.unique(quantizer.codebook, dim=0).shape[0] == quantizer.codebook_size


def unbound(vectors: Tensor, levels: list[int]) -> Tensor:
    """Latents that the bound takes to the given values: its inverse, in float64.

    The lowest of an even number of levels lies just outside its range, and is what it rounds to.
    """
    half, offset, shift = (torch.from_numpy(np.asarray(c)) for c in constants(levels))
    ratio = (vectors * (torch.tensor(levels) // 2) + offset) / half
    return ratio.clamp(-0.999, 0.999).atanh() - shift


def test_the_example_of_the_published_notebook() -> None:
    vectors, codes, _ = FSQ([3, 5, 4])(torch.tensor([0.25, 0.6, -7.0]).reshape(1, 3))
    assert vectors.tolist() == [[0.0, 0.5, -1.0]]
    assert codes.tolist() == [1 + 3 * 3 + 0 * 15]


def test_zero_is_the_middle_and_even_levels_reach_further_down() -> None:
    quantizer = FSQ([4, 5])
    assert quantizer(torch.zeros(1, 2)).vectors.tolist() == [[0.0, 0.0]]
    below = quantizer(torch.full((1, 2), -0.01)).vectors  # rounds to 0, and to no -0
    assert below.view(torch.int32).tolist() == [[0, 0]]
    assert quantizer(torch.full((1, 2), 99.0)).vectors.tolist() == [[0.5, 1.0]]
    assert quantizer(torch.full((1, 2), -99.0)).vectors.tolist() == [[-1.0, -1.0]]


# --- laws -----------------------------------------------------------------------------------------


def test_a_huge_codebook_is_never_built() -> None:
    quantizer = FSQ([8] * 11)
    assert quantizer.codebook_size == 2**33
    assert not any(buffer.numel() > 5 * 11 for buffer in quantizer.buffers())
    z = torch.randn(40, 11)
    vectors, codes, _ = quantizer(z)
    assert torch.equal(quantizer.decode(codes), vectors)
    _, _, indices = listing(z.numpy().astype(np.float64), [8] * 11)
    assert codes.tolist() == indices.tolist()


def test_codes_beyond_float64_are_exact() -> None:
    levels = [999] * 6 + [3]
    quantizer = FSQ(levels)
    assert quantizer.codebook_size > 2**53
    top = quantizer(torch.full((1, 7), 99.0))
    assert top.codes.item() == quantizer.codebook_size - 1
    assert torch.equal(quantizer.decode(top.codes), torch.ones(1, 7))
    middle = quantizer.encode(torch.zeros(1, 7))
    assert middle.item() == quantizer.codebook_size // 2


@pytest.mark.parametrize("how", ["latents", "module", "autocast"])
def test_bf16_loses_no_code(how: str) -> None:
    """bfloat16 cannot count to 257; codes are integers all the same."""
    levels = [8, 8, 8, 8, 8]
    quantizer = FSQ(levels)
    every = torch.arange(quantizer.codebook_size)
    z = unbound(quantizer.decode(every), levels).to(torch.bfloat16)
    if how == "module":
        quantizer = quantizer.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        vectors, codes, _ = quantizer(z)
        assert torch.equal(codes, every)
        assert torch.equal(vectors, quantizer.decode(codes))
    assert vectors.dtype == (torch.bfloat16 if how == "module" else torch.float32)


def test_the_gradient_vanishes_only_in_the_tails() -> None:
    z = torch.tensor([[0.0], [30.0], [-30.0]], requires_grad=True)
    FSQ([7])(z).vectors.sum().backward()
    assert z.grad is not None
    assert z.grad[0] > 0.9
    assert z.grad[1:].abs().max() < 1e-6


# --- complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([], r"FSQ: len\(levels\) must be >= 1; got 0"),
        ([8, 2], r"FSQ: min\(levels\) must be >= 3; got 2"),
        ([8] * 21, r"FSQ: the product of levels must be < 2\*\*63; got 9223372036854775808"),
    ],
)
def test_it_refuses_levels(levels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FSQ(levels)


def test_it_refuses_other_widths_and_codes_out_of_range() -> None:
    with pytest.raises(ValueError, match="FSQ: latents must have size 2 in dimension -1; got 3"):
        FSQ([5, 5])(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"FSQ: codes must lie in \[-1, 25\); got values from 0"):
        FSQ([5, 5]).decode(torch.tensor([0, 25]))


def test_levels_are_read_back_as_plain_integers() -> None:
    quantizer = FSQ(np.array([5, 4, 3]))  # type: ignore[arg-type]
    assert quantizer.levels == [5, 4, 3]
    numbers = [*quantizer.levels, quantizer.codebook_size]
    assert [type(number) for number in numbers] == [int] * 4
