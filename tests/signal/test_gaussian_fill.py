"""Gaps filled by lines and by a Gaussian: the formulas written naively, and what cannot leak."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ssltok.signal import GaussianFill, LineFill, gaussian_fill, line_fill

SHAPE = (7, 2, 5)


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parts(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Series, observed, an uneven covariance of rank 6 and a mean."""
    generator = random(seed)
    root = torch.randn(10, 6, generator=generator).double() * torch.logspace(-1, 1, 10)[:, None]
    series = torch.randn(SHAPE, generator=generator) * 3 + 1
    observed = torch.rand(SHAPE, generator=generator) < 0.6
    observed[0], observed[1], observed[2] = True, False, observed[3]
    return series, observed, root @ root.T, torch.randn(SHAPE[1:], generator=generator)


def naive(series: Tensor, observed: Tensor, k: Tensor, mean: Tensor, noise: float) -> np.ndarray:
    """The formula, a row at a time."""
    covariance, level = k.double().numpy(), mean.double().flatten().numpy()
    rows = []
    for row, seen in zip(series.flatten(1).double().numpy(), observed.flatten(1).numpy(),
                         strict=True):  # fmt: skip
        o, h = np.flatnonzero(seen), np.flatnonzero(~seen)
        filled = row.copy()
        inverse = np.linalg.inv(covariance[np.ix_(o, o)] + noise * np.eye(len(o)))
        filled[h] = level[h] + covariance[np.ix_(h, o)] @ inverse @ (row[o] - level[o])
        rows.append(filled)
    return np.stack(rows).reshape(series.shape)


@pytest.mark.parametrize("noise", [0.3, 2.0])
def test_the_conditional_mean_is_the_formula(noise: float) -> None:
    series, observed, k, mean = parts()
    filled = gaussian_fill(series, observed, k, mean=mean, noise=noise)
    np.testing.assert_allclose(filled, naive(series, observed, k, mean, noise), atol=2e-5)
    assert torch.equal(filled[observed], series[observed])
    torch.testing.assert_close(filled[1], mean)
    plain = gaussian_fill(series, observed, k, noise=noise)
    zero = torch.zeros_like(mean)
    np.testing.assert_allclose(plain, naive(series, observed, k, zero, noise), atol=2e-5)


def test_a_walk_and_a_bridge() -> None:
    """Of a random walk from 0 the conditional mean is a line between two known values."""
    times = torch.arange(1.0, 8)
    walk = torch.minimum(times[:, None], times)
    series = torch.tensor([[[2.0, 9, 9, 8, 9, 9, 9]]])
    observed = torch.tensor([[[True, False, False, True, False, False, False]]])
    filled = gaussian_fill(series, observed, walk)
    torch.testing.assert_close(filled, torch.tensor([[[2.0, 4, 6, 8, 8, 8, 8]]]))


def test_draws_have_the_conditional_mean_and_covariance() -> None:
    series, observed, k, mean = parts(1)
    row, seen, noise = series[4:5], observed[4:5], 0.5
    draws = gaussian_fill(
        row.expand(40_000, -1, -1), seen.expand(40_000, -1, -1), k, mean=mean, noise=noise,
        drawn=True, generator=random(2),
    )  # fmt: skip
    o, h = seen.flatten(), ~seen.flatten()
    inverse = torch.linalg.inv(k[o][:, o] + noise * torch.eye(int(o.sum())).double())
    expected = k[h][:, h] - k[h][:, o] @ inverse @ k[o][:, h] + noise * torch.eye(int(h.sum()))
    drawn = draws.flatten(1)[:, h].double()
    scale = expected.diagonal().sqrt()
    ratio = (torch.cov(drawn.T) - expected) / (scale[:, None] * scale)
    assert ratio.abs().max() < 0.04
    middle = gaussian_fill(row, seen, k, mean=mean, noise=noise).flatten(1)[:, h].double()
    assert ((drawn.mean(0) - middle) / scale).abs().max() < 0.03
    assert torch.equal(draws[:, seen[0]], row[seen].expand(40_000, -1))


def test_the_generator_alone_decides() -> None:
    series, observed, k, _ = parts()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (
        gaussian_fill(series, observed, k, noise=0.1, drawn=True, generator=random(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("garbage", [torch.nan, 1e30, -torch.inf])
def test_hidden_values_cannot_leak(garbage: float) -> None:
    series, observed, k, mean = parts()
    fill = GaussianFill(2, 5).fit(series, holes=~observed)
    guess = series.mean(0, keepdim=True).expand(SHAPE)
    other = series.where(observed, garbage)
    for function in (
        lambda x: gaussian_fill(x, observed, k, mean=mean, noise=0.1),
        lambda x: line_fill(x, observed),
        lambda x: fill(x, observed),
        lambda x: fill(x, observed, guess=guess),
        lambda x: LineFill()(x, observed, guess=guess),
        lambda x: fill(x, observed, guess=guess, drawn=True, generator=random(3)),
    ):
        filled = function(series)
        assert torch.equal(filled, function(other))
        assert torch.equal(filled[observed], series[observed])
        assert filled.isfinite().all()


@pytest.mark.parametrize("garbage", [torch.nan, 1e30])
def test_what_is_not_valid_teaches_nothing(garbage: float) -> None:
    series = torch.randn(30, 2, 5, generator=random(0)).cumsum(2)
    valid = torch.rand(30, 2, 5, generator=random(1)) < 0.8
    holes = torch.rand(30, 2, 5, generator=random(2)) < 0.3
    one = GaussianFill(2, 5).fit(series, valid, holes=holes)
    two = GaussianFill(2, 5).fit(series.where(valid, garbage), valid, holes=holes)
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert torch.linalg.eigvalsh(one.covariance.double()).min() > -1e-5


def test_many_series_give_their_covariance_and_few_a_stationary_one() -> None:
    """An autoregression: with 30 series of it, lags alone are surer than pairs of places."""
    length, steps = 16, torch.arange(16)
    truth = 0.5 ** (steps[:, None] - steps).abs().double()
    root = torch.linalg.cholesky(truth)
    holes = torch.rand(400, 1, length, generator=random(5)) < 0.3

    def off(covariance: Tensor) -> float:
        return float((covariance - truth).square().mean().sqrt())

    errors = torch.zeros(4, 3)
    for seed in range(4):
        draws = (torch.randn(400, length, generator=random(seed)).double() @ root.T).float()
        few = draws[:30, None]
        errors[seed] = torch.tensor(
            [
                off(torch.cov(draws[:30].T.double(), correction=0)),
                off(GaussianFill(1, length).fit(few, holes=holes[:30]).covariance),
                off(GaussianFill(1, length).fit(draws[:, None], holes=holes).covariance),
            ]
        )
    plain, some, many = errors.mean(0).tolist()
    assert some < 0.85 * plain
    assert many < 0.5 * some


@pytest.mark.parametrize(("quality", "trust"), [(0.0, 1.0), (30.0, 0.0)])
def test_a_guess_is_trusted_as_far_as_it_is_good(quality: float, trust: float) -> None:
    walks = torch.randn(60, 1, 8, generator=random(0)).cumsum(2)
    guess = walks + quality * torch.randn(60, 1, 8, generator=random(1))
    holes = torch.rand(60, 1, 8, generator=random(2)) < 0.3
    fill = GaussianFill(1, 8).fit(walks, holes=holes, guess=guess)
    assert float(fill.trust) == trust
    if trust:
        torch.testing.assert_close(fill(walks, ~holes, guess=guess), walks)
    else:
        assert torch.equal(fill(walks, ~holes, guess=guess), fill(walks, ~holes))


def test_before_fit_a_gap_is_the_guess_or_0() -> None:
    series, observed, _, _ = parts()
    fill = GaussianFill(2, 5)
    assert torch.equal(fill(series, observed), series.where(observed, 0.0))
    guess = torch.full(SHAPE, 4.0)
    assert torch.equal(fill(series, observed, guess=guess), series.where(observed, guess))


def test_lines_are_those_of_numpy() -> None:
    series, observed, _, _ = parts(3)
    filled = line_fill(series.double(), observed)
    for row, seen, line in zip(
        series.flatten(0, 1), observed.flatten(0, 1), filled.flatten(0, 1), strict=True
    ):
        known = np.flatnonzero(seen)
        expected = np.interp(np.arange(5), known, row[seen]) if len(known) else np.zeros(5)
        np.testing.assert_allclose(line, expected, atol=1e-6)
    guess = torch.randn(SHAPE, generator=random(9))
    rest = line_fill(series - guess, observed) + guess
    torch.testing.assert_close(LineFill()(series, observed, guess=guess), rest)


def test_a_constant_and_a_lone_series() -> None:
    """No variance, or nothing to hold out: nothing is chosen, and nothing breaks."""
    for series in (torch.full((9, 2, 5), 3.0), torch.randn(1, 2, 5, generator=random(0))):
        holes = torch.zeros(series.shape, dtype=torch.bool)
        holes[:, :, 2] = True
        filled = GaussianFill(2, 5).fit(series, holes=holes)(series, ~holes)
        torch.testing.assert_close(filled, series)


def test_complaints() -> None:
    series, observed, k, _ = parts()
    with pytest.raises(ValueError, match=r"^gaussian_fill: observed must have shape"):
        gaussian_fill(series, observed[:3], k)
    with pytest.raises(ValueError, match=r"^gaussian_fill: covariance must have size 10 in dim"):
        gaussian_fill(series, observed, k[:9])
    with pytest.raises(ValueError, match=r"^line_fill: observed must have shape"):
        line_fill(series, observed[:, :1])
    with pytest.raises(ValueError, match=r"^GaussianFill: length must be >= 1; got 0"):
        GaussianFill(1, 0)
    with pytest.raises(ValueError, match=r"^GaussianFill: series must have size 3 in dimension 1"):
        GaussianFill(3, 5).fit(series, holes=~observed)
    with pytest.raises(ValueError, match=r"^GaussianFill: series and guess must"):
        GaussianFill(2, 5).fit(series, holes=~observed, guess=series[:2])
    with pytest.raises(ValueError, match=r"^LineFill: drawn must be False.*got True"):
        LineFill()(series, observed, drawn=True)
