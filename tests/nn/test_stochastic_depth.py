"""Stochastic depth and its schedule."""

import math

import pytest
import torch

from ssltok.nn import StochasticDepth, stochastic_depth_rates

# Oracle ---------------------------------------------------------------------------------------


def test_entries_are_kept_as_the_generator_says() -> None:
    x = torch.randn(7, 3, 2, dtype=torch.float64)
    drawn = torch.rand(7, 1, 1, generator=torch.Generator().manual_seed(3)).flatten()
    out = StochasticDepth(0.3)(x, generator=torch.Generator().manual_seed(3))
    for entry, share in enumerate(drawn.tolist()):
        expected = x[entry] / 0.7 if share >= 0.3 else torch.zeros_like(x[entry])
        torch.testing.assert_close(out[entry], expected)


def test_the_survival_schedule_is_the_paper_s() -> None:
    """Equation 4: p_l = 1 - l / L (1 - p_L), the share that survives."""
    for depth, last in [(54, 0.5), (1, 0.3), (7, 1.0)]:
        for layer, dropped in enumerate(stochastic_depth_rates(depth, last_ratio=last), start=1):
            assert 1 - dropped == pytest.approx(1 - layer / depth * (1 - (1 - last)))


# Known values ---------------------------------------------------------------------------------


def test_ends_of_the_range() -> None:
    assert stochastic_depth_rates(3, last_ratio=0.0) == [0.0, 0.0, 0.0]
    assert stochastic_depth_rates(2, last_ratio=1.0) == [0.5, 1.0]
    x = torch.randn(4, 3)
    assert torch.equal(StochasticDepth(0.0)(x), x)
    assert StochasticDepth(1.0)(x).abs().sum() == 0


# Laws -----------------------------------------------------------------------------------------


def test_unbiased_and_per_entry() -> None:
    """The mean over 20000 entries: five standard errors of a Bernoulli."""
    ratio = 0.4
    out = StochasticDepth(ratio)(torch.ones(20_000, 2, 3), generator=torch.Generator())
    assert torch.equal(out, out[:, :1, :1].expand_as(out))
    error = math.sqrt(ratio / (1 - ratio) / 20_000)
    assert float(out.mean()) == pytest.approx(1, abs=5 * error)
    assert error < 0.01


def test_evaluation_is_the_identity_and_draws_nothing() -> None:
    x = torch.randn(4, 3)
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state(), torch.get_rng_state()
    assert StochasticDepth(0.9).eval()(x, generator=generator) is x
    assert torch.equal(before[0], generator.get_state())
    assert torch.equal(before[1], torch.get_rng_state())


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"StochasticDepth: ratio must lie in \[0, 1\]; got 1.5"):
        StochasticDepth(1.5)
    with pytest.raises(ValueError, match=r"StochasticDepth: x must be floating point; got torch"):
        StochasticDepth(0.5)(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"StochasticDepth: axes of x must be >= 1; got 0"):
        StochasticDepth(0.5)(torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"stochastic_depth_rates: depth must be >= 1; got 0"):
        stochastic_depth_rates(0, last_ratio=0.5)
    with pytest.raises(ValueError, match=r"last_ratio must lie in \[0, 1\]; got nan"):
        stochastic_depth_rates(2, last_ratio=math.nan)
