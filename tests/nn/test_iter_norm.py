"""IterNorm against the algorithm of the paper and against exact ZCA whitening."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ssltok.nn import IterNorm


def correlated(rows: int, features: int, seed: int = 0) -> Tensor:
    """Well-conditioned, correlated, not centred."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(features, features, generator=generator, dtype=torch.float64) * 0.2
    mixing += torch.diag(1 + torch.arange(features) / features)
    x = torch.randn(rows, features, generator=generator, dtype=torch.float64)
    return x @ mixing + torch.arange(features)


def whitening(x: Tensor, steps: int, eps: float) -> Tensor:
    """Algorithm 1 of the paper for one group: columns are samples there."""
    centred = (x - x.mean(0)).T
    sigma = centred @ centred.T / x.shape[0] + eps * torch.eye(x.shape[1], dtype=x.dtype)
    normed = sigma / torch.trace(sigma)
    p = torch.eye(x.shape[1], dtype=x.dtype)
    for _ in range(steps):
        p = (3 * p - torch.linalg.matrix_power(p, 3) @ normed) / 2
    return p / torch.trace(sigma).sqrt()


# Oracle ---------------------------------------------------------------------------------------


@given(st.sampled_from([1, 2, 3]), st.integers(1, 3), st.integers(1, 7), st.integers(0, 99))
def test_it_is_algorithm_1(size: int, groups: int, steps: int, seed: int) -> None:
    norm = IterNorm(size * groups, group_size=size, steps=steps, eps=0.03).double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    x = correlated(11, size * groups, seed)
    parts = [
        (part - part.mean(0)) @ whitening(part, steps, 0.03).T
        for part in torch.split(x, size, dim=1)
    ]
    assert norm.weight is not None
    assert norm.bias is not None
    torch.testing.assert_close(norm(x), torch.cat(parts, dim=1) * norm.weight + norm.bias)


def test_more_steps_tend_to_exact_zca() -> None:
    x = correlated(200, 6)
    centred = x - x.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / 200)
    exact = centred @ vectors @ torch.diag(values.rsqrt()) @ vectors.T
    errors = [
        (IterNorm(6, group_size=6, steps=steps, eps=1e-12).double()(x) - exact).abs().max().item()
        for steps in (3, 5, 7, 12)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6
    identity = torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(exact.T @ exact / 200, identity)


# Known values ---------------------------------------------------------------------------------


def test_groups_of_one_standardize() -> None:
    x = correlated(64, 4)
    out = IterNorm(4, group_size=1, steps=5, eps=1e-12).double()(x)
    torch.testing.assert_close(out, (x - x.mean(0)) / x.std(0, correction=0))


def test_groups_are_whitened_apart() -> None:
    x = correlated(500, 6)
    out = IterNorm(6, group_size=3, steps=15, eps=1e-9).double()(x)
    covariance = out.T @ out / 500
    group = torch.arange(6) // 3
    inside = group[:, None] == group
    torch.testing.assert_close(covariance[inside], torch.eye(6).double()[inside], atol=1e-6, rtol=0)
    assert covariance[~inside].abs().max() > 0.02


# Laws -----------------------------------------------------------------------------------------


def test_running_statistics_are_moving_averages_and_serve_evaluation() -> None:
    norm = IterNorm(4, group_size=2, steps=4, momentum=0.25, affine=False).double()
    mean = torch.zeros(4, dtype=torch.float64)
    matrix = torch.eye(2, dtype=torch.float64).repeat(2, 1, 1)
    for seed in range(3):
        x = correlated(9, 4, seed)
        norm(x)
        mean = 0.75 * mean + 0.25 * x.mean(0)
        made = torch.stack([whitening(part, 4, 1e-5) for part in torch.split(x, 2, dim=1)])
        matrix = 0.75 * matrix + 0.25 * made
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_whitening, matrix)
    norm.eval()
    x = correlated(3, 4, 7)
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    out = norm(x)
    assert all(torch.equal(before[key], value) for key, value in norm.state_dict().items())
    for group in range(2):
        part = slice(2 * group, 2 * group + 2)
        torch.testing.assert_close(out[:, part], (x - mean)[:, part] @ matrix[group].T)
    torch.testing.assert_close(norm(x[1:2]), out[1:2])
    twin = IterNorm(4, group_size=2, steps=4, affine=False).double().eval()
    twin.load_state_dict(norm.state_dict())
    assert torch.equal(twin(x), out)


def test_gradients_first_and_second() -> None:
    norm = IterNorm(2, group_size=2, steps=3).double()
    x = correlated(5, 2).requires_grad_()
    assert torch.autograd.gradcheck(norm, (x,))
    assert torch.autograd.gradgradcheck(norm, (x,))


def test_gradients_reach_scale_and_shift_and_collapse_is_finite() -> None:
    norm = IterNorm(4, group_size=2)
    x = torch.ones(6, 4, requires_grad=True)
    out = norm(x)
    (out * torch.randn_like(out)).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(out).all()
    assert torch.isfinite(x.grad).all()
    norm(correlated(6, 4).float()).square().sum().backward()
    for parameter in norm.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().min() > 0


def test_shift_and_scale_of_the_input_do_not_matter() -> None:
    x = correlated(50, 4)
    norm = IterNorm(4, group_size=4, eps=1e-12).double()
    torch.testing.assert_close(norm(x), norm(7 * x - 3))


def test_statistics_stay_in_single_precision_under_autocast() -> None:
    x = correlated(64, 8).float()
    norm = IterNorm(8, group_size=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = norm(x)
    assert low.dtype == torch.float32
    assert torch.equal(low, norm(x))
    assert norm(x.bfloat16()).dtype == torch.float32


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"IterNorm: group_size must divide features; got 3 and 4"):
        IterNorm(4, group_size=3)
    with pytest.raises(ValueError, match=r"IterNorm: features must be >= 1; got 0"):
        IterNorm(0, group_size=1)
    with pytest.raises(ValueError, match=r"IterNorm: group_size must be >= 1; got 0"):
        IterNorm(4, group_size=0)
    with pytest.raises(ValueError, match=r"IterNorm: steps must be >= 1; got 0"):
        IterNorm(4, group_size=2, steps=0)
    with pytest.raises(ValueError, match=r"IterNorm: eps must be > 0; got 0"):
        IterNorm(4, group_size=2, eps=0)
    with pytest.raises(ValueError, match=r"IterNorm: momentum must lie in \[0, 1\]; got 2"):
        IterNorm(4, group_size=2, momentum=2)
    norm = IterNorm(4, group_size=2)
    with pytest.raises(ValueError, match=r"IterNorm: batch must be >= 4; got 3"):
        norm(torch.randn(3, 4))
    with pytest.raises(ValueError, match=r"IterNorm: x must have size 4 in dimension 1; got 5"):
        norm(torch.randn(9, 5))
    with pytest.raises(ValueError, match=r"IterNorm: x must be \(batch, features\); got shape"):
        norm(torch.randn(9, 4, 1))
    with pytest.raises(ValueError, match=r"IterNorm: x must be floating point; got torch.int64"):
        norm(torch.ones(9, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"IterNorm: batch must be >= 1; got 0"):
        norm.eval()(torch.randn(0, 4))
