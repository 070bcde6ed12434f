"""data2vec's target."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from ssltok.losses import normalize_over_tokens, topk_layer_target


def some(count: int = 4, batch: int = 3, tokens: int = 6, dim: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(count)
    shape = (count, batch, tokens, dim)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    scales = torch.arange(1.0, count + 1)[:, None, None, None] ** 3  # layers of unlike sizes
    return list((drawn + 0.5) * scales)


# Oracle ---------------------------------------------------------------------------------------


def test_it_is_torch_s_instance_norm() -> None:
    (x,) = some(1)
    expected = functional.instance_norm(x.mT).mT
    torch.testing.assert_close(normalize_over_tokens(x), expected)


@given(st.integers(1, 4))
def test_it_is_the_authors_average(top: int) -> None:
    layers = some()
    expected = torch.zeros_like(layers[0])
    for layer in layers[4 - top :]:
        expected += functional.instance_norm(layer.mT).mT / top
    torch.testing.assert_close(topk_layer_target(layers, top=top), expected)


def test_padding_is_left_out_row_by_row() -> None:
    layers, lengths = some(), (6, 4, 1)
    valid = torch.arange(6) < torch.tensor(lengths)[:, None]
    padded = [x.masked_fill(~valid[..., None], torch.nan) for x in layers]
    target = topk_layer_target(padded, valid, top=3)
    for row, length in enumerate(lengths):
        alone = topk_layer_target([x[row : row + 1, :length] for x in layers], top=3)
        torch.testing.assert_close(target[row, :length], alone[0])
        assert (target[row, length:] == 0).all()


def test_another_norm() -> None:
    layers = some()
    valid = torch.ones(3, 6, dtype=torch.bool)
    valid[0, 2] = False

    def norm(x: Tensor, valid: Tensor | None) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:])

    target = topk_layer_target(layers, valid, top=2, normalize=norm)
    expected = (functional.layer_norm(layers[2], (2,)) + functional.layer_norm(layers[3], (2,))) / 2
    torch.testing.assert_close(target, expected.masked_fill(~valid[..., None], 0))


# Known values ---------------------------------------------------------------------------------


def test_a_constant_is_zero_and_one_token_is_zero() -> None:
    assert (normalize_over_tokens(torch.full((2, 5, 3), 7.0)) == 0).all()
    assert (normalize_over_tokens(torch.randn(2, 1, 3)) == 0).all()
    nothing = torch.zeros(2, 5, dtype=torch.bool)
    assert (normalize_over_tokens(torch.randn(2, 5, 3), nothing) == 0).all()


# Laws -----------------------------------------------------------------------------------------


def test_the_scale_of_a_layer_does_not_matter() -> None:
    layers = some()
    scaled = [x * 1000 + 5 for x in layers]
    target = topk_layer_target(layers, top=4)
    torch.testing.assert_close(topk_layer_target(scaled, top=4), target, atol=1e-4, rtol=1e-4)


def test_it_is_detached_in_full_precision_and_leaves_its_input() -> None:
    layers = [x.bfloat16().requires_grad_() for x in some()]
    before = [x.detach().clone() for x in layers]
    target = topk_layer_target(layers, top=2)
    assert target.dtype == torch.float32
    assert not target.requires_grad
    wide = topk_layer_target([x.float() for x in before], top=2)
    torch.testing.assert_close(target, wide)
    assert all(torch.equal(x, y) for x, y in zip(layers, before, strict=True))


def test_gradients_of_the_norm() -> None:
    x = some(1)[0].requires_grad_()
    valid = torch.rand(3, 6) < 0.7
    assert torch.autograd.gradcheck(normalize_over_tokens, (x,))
    assert torch.autograd.gradcheck(normalize_over_tokens, (x, valid))


def test_one_graph() -> None:
    layers, valid = some(), torch.rand(3, 6) < 0.7
    compiled = torch.compile(topk_layer_target, fullgraph=True, backend="eager")
    expected = topk_layer_target(layers, valid, top=2)
    torch.testing.assert_close(compiled(layers, valid, top=2), expected)


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    layers = some()
    for top in (0, 5):
        with pytest.raises(ValueError, match=rf"top must lie in \[1, 4\] \(layers\); got {top}"):
            topk_layer_target(layers, top=top)
    with pytest.raises(ValueError, match=r"topk_layer_target: layers must share one shape; got"):
        topk_layer_target([layers[0], layers[1][:2]], top=2)
    with pytest.raises(ValueError, match=r"tokens must be \(batch, tokens, dim\); got shape"):
        topk_layer_target([layers[0][0]], top=1)
    with pytest.raises(ValueError, match=r"tokens must be floating point; got torch.int64"):
        normalize_over_tokens(layers[0].long())
    with pytest.raises(ValueError, match=r"tokens.numel\(\) must be >= 1; got 0"):
        normalize_over_tokens(layers[0][:0])
    with pytest.raises(ValueError, match=r"valid must have shape \(3, 6\); got \(3, 5\)"):
        topk_layer_target(layers, torch.ones(3, 5, dtype=torch.bool), top=1)
