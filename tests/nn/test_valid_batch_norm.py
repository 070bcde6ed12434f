"""BatchNorm over the real time steps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ssltok.nn import ValidBatchNorm1d


def pair(**options: object) -> tuple[ValidBatchNorm1d, nn.BatchNorm1d]:
    """A norm and torch's own, with the same state."""
    torch.manual_seed(0)
    ours = ValidBatchNorm1d(3, **options).double()  # type: ignore[arg-type]
    theirs = nn.BatchNorm1d(3, **options).double()  # type: ignore[arg-type]
    if ours.affine:
        nn.init.normal_(ours.weight)
        nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def padded(x: Tensor, valid: Tensor) -> Tensor:
    return x.masked_fill(~valid.unsqueeze(1), torch.nan)


# Oracle ---------------------------------------------------------------------------------------

OPTIONS = [{}, {"affine": False}, {"momentum": 0.3, "eps": 0.1}, {"momentum": None}]


@pytest.mark.parametrize("options", OPTIONS)
def test_it_is_batch_norm_of_the_real_steps(options: dict[str, object]) -> None:
    """torch's own on the list of real steps, in value, gradient and running statistics."""
    ours, theirs = pair(**options)
    for _ in range(3):
        x = torch.randn(4, 3, 7, dtype=torch.float64) * 2 + 1
        valid = torch.rand(4, 7) < 0.7
        leaf, rows = (
            t.clone().requires_grad_() for t in (padded(x, valid), x.transpose(1, 2)[valid])
        )
        out, expected = ours(leaf, valid), theirs(rows)
        torch.testing.assert_close(out.transpose(1, 2)[valid], expected)
        assert (out.transpose(1, 2)[~valid] == 0).all()
        weights = torch.randn_like(out)
        (grad,) = torch.autograd.grad((out * weights).sum(), leaf)
        weighted = (expected * weights.transpose(1, 2)[valid]).sum()
        (expected_grad,) = torch.autograd.grad(weighted, rows)
        torch.testing.assert_close(grad.transpose(1, 2)[valid], expected_grad)
        assert (grad.transpose(1, 2)[~valid] == 0).all()
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value)
    out, expected = ours.eval()(padded(x, valid), valid), theirs.eval()(x)
    torch.testing.assert_close(out.transpose(1, 2)[valid], expected.transpose(1, 2)[valid])
    assert (out.transpose(1, 2)[~valid] == 0).all()


@pytest.mark.parametrize("options", OPTIONS)
def test_without_valid_it_is_torch_s(options: dict[str, object]) -> None:
    ours, theirs = pair(**options)
    x = torch.randn(4, 3, 7, dtype=torch.float64)
    assert torch.equal(ours(x), theirs(x))
    torch.testing.assert_close(ours(x, torch.ones(4, 7, dtype=torch.bool)), theirs(x))
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value)


def test_without_tracking_evaluation_uses_the_batch() -> None:
    ours, theirs = pair(track_running_stats=False)
    x, valid = torch.randn(4, 3, 7, dtype=torch.float64), torch.rand(4, 7) < 0.7
    out = ours.eval()(padded(x, valid), valid)
    expected = theirs.eval()(x.transpose(1, 2)[valid])
    torch.testing.assert_close(out.transpose(1, 2)[valid], expected)


# Known values ---------------------------------------------------------------------------------


def test_a_large_mean_keeps_its_digits() -> None:
    """Two passes: the variance 1 of values near 10000 survives float32."""
    x = torch.tensor([[[9999.0, 10001.0, 0.0]]])
    out = ValidBatchNorm1d(1, eps=1e-12)(x, torch.tensor([[True, True, False]]))
    assert out.detach().tolist() == [[[-1.0, 1.0, 0.0]]]


def test_half_precision_input_has_statistics_in_float32() -> None:
    """Near 100, bfloat16 tells apart steps of 0.5: enough for the values, not for their mean."""
    low, high = ValidBatchNorm1d(3), ValidBatchNorm1d(3)
    x, valid = (100 + torch.randn(8, 3, 50)).bfloat16(), torch.rand(8, 50) < 0.7
    out = low(x, valid)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, high(x.float(), valid).bfloat16())
    for key, value in high.state_dict().items():
        assert torch.equal(low.state_dict()[key], value), key


def test_nothing_real_gives_zeros_and_finite_statistics() -> None:
    norm = ValidBatchNorm1d(2)
    out = norm(torch.randn(2, 2, 3), torch.zeros(2, 3, dtype=torch.bool))
    assert (out == 0).all()
    assert all(torch.isfinite(value).all() for value in norm.state_dict().values())


# Laws -----------------------------------------------------------------------------------------


@given(st.integers(0, 9))
def test_more_padding_changes_nothing(extra: int) -> None:
    ours, twin = pair()[0], pair()[0]
    x = torch.randn(3, 3, 5, dtype=torch.float64)
    valid = torch.rand(3, 5) < 0.8
    long = nn.functional.pad(x, (0, extra), value=torch.nan)
    out = ours(long, nn.functional.pad(valid, (0, extra)))
    torch.testing.assert_close(out[..., :5], twin(x, valid))
    torch.testing.assert_close(ours.running_var, twin.running_var)


def test_gradients() -> None:
    norm = pair()[0]
    valid = torch.tensor([[True, True, False, True], [True, False, True, True]])
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: norm(x, valid), (x,))
    assert torch.autograd.gradgradcheck(lambda x: norm(x, valid), (x,))


def test_one_graph() -> None:
    norm, twin = pair()[0], pair()[0]
    compiled = torch.compile(norm, fullgraph=True, backend="aot_eager")
    x, valid = torch.randn(2, 3, 4, dtype=torch.float64), torch.rand(2, 4) < 0.8
    torch.testing.assert_close(compiled(x, valid), twin(x, valid))
    torch.testing.assert_close(norm.running_mean, twin.running_mean)


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    norm = ValidBatchNorm1d(3)
    with pytest.raises(ValueError, match=r"ValidBatchNorm1d: x must be \(batch, channels, length"):
        norm(torch.randn(2, 3))
    with pytest.raises(ValueError, match=r"x must have size 3 in dimension 1; got 2"):
        norm(torch.randn(2, 2, 4))
    with pytest.raises(ValueError, match=r"x must be floating point; got torch.int64"):
        norm(torch.ones(2, 3, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"valid must have shape \(2, 4\); got \(2, 3\)"):
        norm(torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))
