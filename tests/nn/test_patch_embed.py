"""Patches, their embedding, sinusoidal positions, and lists of places."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssltok.nn import (
    PatchEmbed1d,
    patch_valid,
    patchify,
    sinusoidal_positions,
    token_places,
    unpatchify,
)
from tests.nn.padded_series import assert_exports_for_any_length

sizes = st.tuples(st.integers(1, 6), st.integers(1, 6)).filter(lambda s: s[1] <= s[0])


def naive_patches(series: torch.Tensor, patch: int, stride: int) -> torch.Tensor:
    """Read patch after patch until the last sample has been seen."""
    batch, channels, length = series.shape
    rows = []
    for b in range(batch):
        row, start = [], 0
        while True:
            row.append(
                [
                    float(series[b, c, start + i]) if start + i < length else 0.0
                    for c in range(channels)
                    for i in range(patch)
                ]
            )
            if start + patch >= length:
                break
            start += stride
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


# Oracle ---------------------------------------------------------------------------------------


@given(st.integers(1, 3), sizes, st.integers(0, 20), st.integers(0, 99))
def test_patches_are_the_naive_walk(
    channels: int, size: tuple[int, int], more: int, seed: int
) -> None:
    patch, stride = size
    torch.manual_seed(seed)
    series = torch.randn(2, channels, patch + more, dtype=torch.float64)
    patches = patchify(series, patch=patch, stride=stride)
    assert torch.equal(patches, naive_patches(series, patch, stride))
    embed = PatchEmbed1d(channels, 4, patch=patch, stride=stride).double()
    assert embed.tokens(patch + more) == patches.shape[1]
    weight, bias = embed.projection.weight, embed.projection.bias
    torch.testing.assert_close(embed(series), patches @ weight.T + bias)


def test_embedding_is_a_strided_convolution() -> None:
    embed = PatchEmbed1d(3, 5, patch=4, stride=2).double()
    x = torch.randn(2, 3, 10, dtype=torch.float64)
    kernel = embed.projection.weight.view(5, 3, 4)
    expected = torch.nn.functional.conv1d(x, kernel, embed.projection.bias, stride=2)
    torch.testing.assert_close(embed(x), expected.transpose(1, 2))


@given(sizes, st.integers(0, 12), st.integers(0, 99))
def test_a_token_is_real_if_it_brings_something_new(
    size: tuple[int, int], more: int, seed: int
) -> None:
    patch, stride = size
    valid = torch.rand(3, patch + more, generator=torch.Generator().manual_seed(seed)) < 0.3
    embed = PatchEmbed1d(1, 2, patch=patch, stride=stride)
    found = embed.token_valid(valid)
    for b in range(3):
        seen: set[int] = set()
        for token in range(embed.tokens(patch + more)):
            held = set(range(token * stride, min(token * stride + patch, patch + more)))
            assert bool(found[b, token]) == any(bool(valid[b, i]) for i in held - seen)
            seen |= held


@pytest.mark.parametrize(("dim", "base"), [(8, 10_000.0), (2, 50.0), (6, 3.0)])
def test_positions_are_the_formula(dim: int, base: float) -> None:
    places = torch.tensor([[0.0, 1.0], [17.0, 0.5]], dtype=torch.float64)
    made = sinusoidal_positions(places, dim, base=base)
    for row in range(2):
        for column in range(2):
            for i in range(dim // 2):
                angle = float(places[row, column]) * base ** (-i / (dim // 2))
                assert float(made[row, column, i]) == pytest.approx(math.sin(angle))
                assert float(made[row, column, dim // 2 + i]) == pytest.approx(math.cos(angle))


@given(st.integers(1, 8), st.integers(1, 9), st.integers(0, 99))
def test_places_are_the_marked_ones(tokens: int, slots: int, seed: int) -> None:
    chosen = torch.rand(4, tokens, generator=torch.Generator().manual_seed(seed)) < 0.5
    places = token_places(chosen, slots=slots)
    assert places.shape == (4, slots)
    for row in range(4):
        marked = [i for i in range(tokens) if chosen[row, i]][:slots]
        assert places[row].tolist() == marked + [-1] * (slots - len(marked))


# Known values ---------------------------------------------------------------------------------


def test_distances_of_positions_depend_on_the_difference_only() -> None:
    made = sinusoidal_positions(torch.arange(60, dtype=torch.float64), 16)
    product = made @ made.T
    for difference in (0, 1, 7):
        line = product.diagonal(difference)
        torch.testing.assert_close(line, line[:1].expand_as(line))
    assert float(product[3, 3]) == pytest.approx(8)


def test_integer_places_count_as_float32_and_stay_exact() -> None:
    made = sinusoidal_positions(torch.arange(5000), 8)
    assert made.dtype == torch.float32
    exact = sinusoidal_positions(torch.arange(5000, dtype=torch.float64), 8)
    torch.testing.assert_close(made.double(), exact, atol=1e-3, rtol=0)


def test_padding_at_the_end_counts_the_tokens_of_the_truncated_series() -> None:
    for patch, stride in [(4, 4), (4, 2), (5, 3), (6, 1)]:
        embed = PatchEmbed1d(1, 2, patch=patch, stride=stride)
        for real in range(1, 30):
            valid = torch.arange(30).unsqueeze(0) < real
            expected = embed.tokens(max(real, patch))
            assert embed.token_valid(valid).tolist() == [
                [True] * expected + [False] * (embed.tokens(30) - expected)
            ]


# Laws -----------------------------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 23))
def test_patches_join_again(channels: int, patch: int, length: int) -> None:
    series = torch.randn(2, channels, max(length, patch))
    patches = patchify(series, patch=patch)
    assert torch.equal(unpatchify(patches, channels=channels, length=series.shape[2]), series)


@pytest.mark.parametrize("stride", [3, 4])
def test_padding_cannot_leak(stride: int) -> None:
    embed = PatchEmbed1d(2, 5, patch=4, stride=stride)
    series = torch.randn(3, 2, 15, requires_grad=True)
    valid = torch.arange(15) < torch.tensor([[15], [9], [2]])
    garbage = series.masked_fill(~valid.unsqueeze(1), torch.nan)
    out = embed(garbage, valid=valid)
    out.square().sum().backward()
    grad = series.grad
    assert grad is not None
    assert torch.isfinite(out).all()
    assert torch.equal(grad.abs().sum(1) > 0, valid)
    short = embed(series[1:2, :, :9])
    real = embed.token_valid(valid)[1]
    torch.testing.assert_close(out[1:2, real], short, atol=0, rtol=0)
    assert embed.projection.weight.grad is not None
    assert torch.isfinite(embed.projection.weight.grad).all()


def test_gradcheck() -> None:
    embed = PatchEmbed1d(2, 3, patch=3, stride=2).double()
    series = torch.randn(1, 2, 6, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([[True, True, False, True, True, False]])
    assert torch.autograd.gradcheck(lambda s: embed(s, valid=valid), (series,))


@pytest.mark.parametrize("stride", [1, 3, 4])
def test_export_for_any_length(stride: int) -> None:
    assert_exports_for_any_length(PatchEmbed1d(2, 8, patch=4, stride=stride))


@pytest.mark.parametrize(("patch", "stride"), [(4, 4), (5, 2), (11, 11)])
def test_which_values_of_patches_are_samples(patch: int, stride: int) -> None:
    """The mask is what `patchify` makes of series that tell by their values where they are."""
    real = torch.rand(2, 3, 10) < 0.7
    got = patch_valid(real, channels=3, patch=patch, stride=stride)
    assert torch.equal(got.double(), naive_patches(real.double(), patch, stride))
    rows = patch_valid(real[:, 0], channels=3, patch=patch, stride=stride)
    spread = real[:, :1].expand(-1, 3, -1)
    assert torch.equal(rows, patch_valid(spread, channels=3, patch=patch, stride=stride))


def test_an_observed_mask_tells_zeros_from_missing_values() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 10, dtype=torch.float64)
    observed = torch.rand(2, 3, 10) < 0.6
    zero, broken = torch.where(observed, x, 0), torch.where(observed, x, torch.nan)
    embed = PatchEmbed1d(3, 8, patch=4, observed_mask=True).double()
    weight, bias = embed.projection.weight, embed.projection.bias
    valid = torch.arange(10) < torch.tensor([[10], [7]])
    got = embed(broken.masked_fill(~valid[:, None], torch.nan), valid=valid, observed=observed)
    real = (observed & valid[:, None]).double()
    values = naive_patches(torch.where(real > 0, x, 0), 4, 4)
    both = torch.cat([values, naive_patches(real, 4, 4)], dim=2)
    torch.testing.assert_close(got, both @ weight.T + bias)
    assert not torch.allclose(embed(broken, observed=observed), embed(zero))
    plain = torch.cat([naive_patches(zero, 4, 4), naive_patches(torch.ones(2, 3, 10), 4, 4)], dim=2)
    torch.testing.assert_close(embed(zero), plain @ weight.T + bias)


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    x = torch.randn(2, 3, 10)
    with pytest.raises(ValueError, match=r"patchify: length must be >= 1; got 0"):
        patchify(x[..., :0], patch=11)
    with pytest.raises(ValueError, match=r"patchify: stride must lie in \[1, 4\]; got 5"):
        patchify(x, patch=4, stride=5)
    with pytest.raises(ValueError, match=r"patchify: patch must be >= 1; got 0"):
        patchify(x, patch=0)
    with pytest.raises(ValueError, match=r"patchify: batch must be >= 1; got 0"):
        patchify(x[:0], patch=2)
    with pytest.raises(ValueError, match=r"patchify: channels must be >= 1; got 0"):
        patchify(x[:, :0], patch=2)
    with pytest.raises(ValueError, match=r"valid must have shape \(2, 10\); got \(2, 3, 10\)"):
        patchify(x, patch=2, valid=x > 0)
    with pytest.raises(ValueError, match=r"unpatchify: channels must divide dim; got 3 and 10"):
        unpatchify(x, channels=3, length=9)
    with pytest.raises(ValueError, match=r"in \[11, 15\]; got 10"):
        unpatchify(x, channels=2, length=10)
    with pytest.raises(ValueError, match=r"in \[11, 15\]; got 16"):
        unpatchify(x, channels=2, length=16)
    with pytest.raises(ValueError, match=r"PatchEmbed1d: in_channels must be >= 1; got 0"):
        PatchEmbed1d(0, 4, patch=2)
    with pytest.raises(ValueError, match=r"PatchEmbed1d: dim must be >= 1; got 0"):
        PatchEmbed1d(1, 0, patch=2)
    with pytest.raises(ValueError, match=r"PatchEmbed1d: stride must lie in \[1, 2\]; got 0"):
        PatchEmbed1d(1, 4, patch=2, stride=0)
    embed = PatchEmbed1d(3, 4, patch=8)
    with pytest.raises(ValueError, match=r"series must have size 3 in dimension 1; got 2"):
        embed(x[:, :2])
    with pytest.raises(ValueError, match=r"PatchEmbed1d: length must be >= 1; got 0"):
        embed(x[..., :0])
    with pytest.raises(ValueError, match=r"PatchEmbed1d: observed must be None without observed_"):
        embed(x, observed=x > 0)
    with pytest.raises(ValueError, match=r"observed must have shape \(2, 3, 10\); got \(2, 10\)"):
        embed(x, observed=x[:, 0] > 0)
    with pytest.raises(ValueError, match=r"patch_valid: valid must be boolean; got torch.float32"):
        patch_valid(x, channels=3, patch=2)
    with pytest.raises(ValueError, match=r"patch_valid: valid must have size 3 in dimension 1; go"):
        patch_valid(x[:, :2] > 0, channels=3, patch=2)
    with pytest.raises(ValueError, match=r"patch_valid: stride must lie in \[1, 4\]; got 5"):
        patch_valid(x > 0, channels=3, patch=4, stride=5)
    with pytest.raises(ValueError, match=r"PatchEmbed1d: series must be floating point; got torch"):
        embed(x.long())
    with pytest.raises(ValueError, match=r"series must be \(batch, channels, length\); got shape"):
        embed(x[0])
    with pytest.raises(ValueError, match=r"PatchEmbed1d: valid must be boolean; got torch.float32"):
        embed.token_valid(x[:, 0])
    with pytest.raises(ValueError, match=r"sinusoidal_positions: dim must be even; got 5"):
        sinusoidal_positions(x, 5)
    with pytest.raises(ValueError, match=r"sinusoidal_positions: dim must be >= 2; got 0"):
        sinusoidal_positions(x, 0)
    with pytest.raises(ValueError, match=r"sinusoidal_positions: base must be > 0; got 0"):
        sinusoidal_positions(x, 4, base=0)
    with pytest.raises(TypeError, match=r"places must be a tensor; got list"):
        sinusoidal_positions([1], 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"chosen must be boolean; got torch.float32"):
        token_places(x[0], slots=2)
    with pytest.raises(ValueError, match=r"token_places: slots must be >= 1; got 0"):
        token_places(x[0] > 0, slots=0)
