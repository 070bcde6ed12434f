"""Snake: its formula, its start, its sign."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssltok.nn import Snake

# Oracle ---------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 99))
def test_it_is_the_formula(channels: int, axes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    snake = Snake(channels, low=0.1, high=9.0, generator=generator).double()
    shape = [2, channels, 3, 4, 5][: 2 + axes]
    x = 5 * torch.randn(shape, generator=generator, dtype=torch.float64)
    y = snake(x)
    for channel in range(channels):
        a = math.exp(snake.log_frequency[channel].item())
        values = zip(
            x[:, channel].flatten().tolist(), y[:, channel].flatten().tolist(), strict=True
        )
        for before, after in values:
            assert after == pytest.approx(before + math.sin(a * before) ** 2 / a, abs=1e-12)


# Known values ---------------------------------------------------------------------------------


def test_start_is_uniform_between_low_and_high() -> None:
    generator = torch.Generator().manual_seed(0)
    a = Snake(4000, generator=generator).log_frequency.detach().exp()
    assert 0.2 <= a.min().item() < 0.205
    assert 0.495 < a.max().item() <= 0.5
    assert a.mean().item() == pytest.approx(0.35, abs=0.005)
    assert a.var().item() == pytest.approx(0.3**2 / 12, rel=0.05)


def test_tiny_inputs_are_kept() -> None:
    """sin^2(a x) / a is a x^2 for small x; 1 - cos would lose it."""
    snake = Snake(1, low=0.25, high=0.25)
    x = torch.tensor([[1e-4]])
    assert torch.equal(snake(x), x + 0.25 * x * x)


# Laws -----------------------------------------------------------------------------------------


def test_gradients() -> None:
    snake = Snake(3).double()
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    log_frequency = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def call(x: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        out = torch.func.functional_call(snake, {"log_frequency": alpha}, (x,))
        assert isinstance(out, torch.Tensor)
        return out

    assert torch.autograd.gradcheck(call, (x, log_frequency))


def test_it_never_falls_and_any_parameter_is_legal() -> None:
    x = torch.linspace(-20, 20, 4001).view(-1, 1)
    snake = Snake(1)
    for alpha in (-8.0, -1.0, 0.0, 2.0):
        with torch.no_grad():
            snake.log_frequency.fill_(alpha)
            y = snake(x)
        assert torch.isfinite(y).all()
        assert (y.diff(dim=0) > -1e-4).all()


def test_start_comes_from_the_generator() -> None:
    state = torch.get_rng_state()
    first, second = (Snake(5, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.log_frequency, second.log_frequency)
    assert torch.equal(state, torch.get_rng_state())


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"Snake: channels must be >= 1; got 0"):
        Snake(0)
    with pytest.raises(ValueError, match=r"Snake: low must be > 0; got 0"):
        Snake(1, low=0)
    with pytest.raises(ValueError, match=r"Snake: high must be >= 0.4; got 0.3"):
        Snake(1, low=0.4, high=0.3)
    with pytest.raises(ValueError, match=r"Snake: x must have size 2 in dimension 1; got 3"):
        Snake(2)(torch.randn(1, 3))
    with pytest.raises(ValueError, match=r"Snake: dimensions of x must be >= 2; got 1"):
        Snake(2)(torch.randn(2))
    with pytest.raises(ValueError, match=r"Snake: x must be floating point; got torch.int64"):
        Snake(2)(torch.ones(1, 2, dtype=torch.int64))
