"""RevIN against its authors' rule, written out, and its exact way back."""

import pytest
import torch
from torch import nn

from ssltok.signal import RevIN

# oracle


def test_it_is_the_formula_channel_by_channel() -> None:
    torch.manual_seed(0)
    revin = RevIN(2, eps=0.03).double()
    nn.init.normal_(revin.weight)
    nn.init.normal_(revin.bias)
    x = 5 + 3 * torch.randn(3, 2, 9, dtype=torch.float64)
    valid = torch.rand(3, 2, 9) < 0.7
    values, mean, scale = revin(x.masked_fill(~valid, torch.nan), valid)
    for b in range(3):
        for c in range(2):
            real = x[b, c][valid[b, c]]
            level = real.sum() / len(real)
            size = (((real - level) ** 2).sum() / len(real) + 0.03) ** 0.5
            expected = revin.weight[c] * (real - level) / size + revin.bias[c]
            torch.testing.assert_close(values[b, c][valid[b, c]], expected)
            torch.testing.assert_close(torch.stack([level, size]), torch.stack(
                [mean[b, c, 0], scale[b, c, 0]]
            ))  # fmt: skip
    torch.testing.assert_close(revin.inverse(values, mean, scale)[valid], x[valid])


# laws


def test_padding_is_as_truncation_and_level_and_size_leave() -> None:
    revin, x = RevIN(2).double(), torch.randn(3, 2, 9, dtype=torch.float64)
    valid = torch.arange(9) < 6
    padded = revin(x.where(valid, torch.nan), valid.expand(3, -1))
    alone = revin(x[..., :6])
    torch.testing.assert_close(padded.values[..., :6], alone.values)
    torch.testing.assert_close(padded.mean, alone.mean)
    moved = revin(1000 * x - 7e4)
    torch.testing.assert_close(moved.values, RevIN(2, eps=1e-11).double()(x).values)


def test_what_is_learned_gets_gradients_and_statistics_none() -> None:
    revin = RevIN(2).double()
    nn.init.normal_(revin.weight, mean=1.0, std=0.2)
    x = torch.randn(3, 2, 5, dtype=torch.float64, requires_grad=True)
    values, mean, scale = revin(x)
    assert not mean.requires_grad
    assert not scale.requires_grad
    values.square().sum().backward()
    assert revin.weight is not None
    torch.testing.assert_close(
        revin.weight.grad, (2 * values * (x - mean) / scale).sum(dim=(0, 2)).detach()
    )
    forecast = revin.inverse(torch.randn(3, 2, 4, dtype=torch.float64), mean, scale)
    (grad,) = torch.autograd.grad(forecast.sum(), revin.bias)
    torch.testing.assert_close(grad, -(scale.sum(0) * 4)[:, 0] / revin.weight.detach())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_constant_channels(dtype: torch.dtype) -> None:
    x = torch.full((1, 2, 4), 300.0, dtype=dtype)
    values, mean, scale = RevIN(2)(x)
    assert values.dtype == dtype
    assert mean.dtype == scale.dtype == torch.float32
    assert (values == 0).all()
    assert not RevIN(2, affine=False).state_dict()
    alone = RevIN(1)(torch.ones(1, 1, 3), torch.zeros(1, 3, dtype=torch.bool))
    assert torch.isfinite(alone.values).all()


# complaints


def test_complaints() -> None:
    x = torch.randn(2, 3, 4)
    with pytest.raises(ValueError, match=r"RevIN: channels must be >= 1; got 0"):
        RevIN(0)
    with pytest.raises(ValueError, match=r"RevIN: eps must be > 0; got 0"):
        RevIN(1, eps=0)
    with pytest.raises(ValueError, match=r"RevIN: series must have size 2 in dimension 1; got 3"):
        RevIN(2)(x)
    with pytest.raises(ValueError, match=r"RevIN: valid must have shape \(2, 4\); got \(2, 3\)"):
        RevIN(3)(x, x[..., 0] > 0)
    with pytest.raises(ValueError, match=r"RevIN: mean and values.*must"):
        RevIN(3).inverse(x, x, x[..., :1])
