"""DINO's head: the published layers, unit prototypes."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from ssltok.nn import DINOHead

# Oracle ---------------------------------------------------------------------------------------


def test_it_is_the_published_head() -> None:
    torch.manual_seed(0)
    sizes = {"out_dim": 7, "hidden_dim": 5, "bottleneck_dim": 4}
    head: Any = DINOHead(3, **sizes, freeze_norm=False).double()
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    w1, b1, w2, b2, w3, b3, norm, prototypes = head.parameters()
    x = torch.randn(6, 3, dtype=torch.float64)

    def gelu(y: torch.Tensor) -> torch.Tensor:
        return y * (1 + torch.erf(y / math.sqrt(2))) / 2

    y = gelu(gelu(x @ w1.T + b1) @ w2.T + b2) @ w3.T + b3
    y = y / y.square().sum(1, keepdim=True).sqrt()
    unit = prototypes / prototypes.square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(head(x), (y @ unit.T) * norm[:, 0])


# Known values ---------------------------------------------------------------------------------


def test_parameters_of_the_paper() -> None:
    """384-2048-2048-256 with biases, 65536 prototypes with a norm each."""
    with torch.device("meta"):
        counted = sum(p.numel() for p in DINOHead(384, out_dim=65536).parameters())
    mlp = 384 * 2048 + 2048 + 2048 * 2048 + 2048 + 2048 * 256 + 256
    assert counted == mlp + 65536 * 256 + 65536


def test_the_start() -> None:
    torch.manual_seed(0)
    head: Any = DINOHead(200, out_dim=5, hidden_dim=200, bottleneck_dim=200)
    for layer in head.mlp:
        if isinstance(layer, nn.Linear):
            assert layer.weight.abs().max() <= 0.04
            # a normal cut at two sigma keeps 0.774 of its variance
            assert layer.weight.var().item() == pytest.approx(0.7737 * 0.02**2, rel=0.02)
            assert (layer.bias == 0).all()
    torch.testing.assert_close(head.last.weight.norm(dim=1), torch.ones(5))


@torch.no_grad()
def bottleneck_rms(head: DINOHead) -> float:
    return float(head.mlp(torch.randn(256, head.in_dim)).square().mean().sqrt())


def test_how_narrow_heads_start_and_how_to_start_them_wider() -> None:
    """The figures of the docstring."""
    torch.manual_seed(0)
    wide = DINOHead(384, out_dim=2)
    assert bottleneck_rms(wide) == pytest.approx(0.06, rel=0.1)
    narrow = DINOHead(64, out_dim=2, hidden_dim=128, bottleneck_dim=32)
    assert bottleneck_rms(narrow) == pytest.approx(0.0014, rel=0.1)
    for layer in narrow.mlp:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    assert bottleneck_rms(narrow) == pytest.approx(0.08, rel=0.2)


def test_half_precision_is_normalised_in_float32() -> None:
    """Identities around the sphere: all that is left is the vector's norm."""
    head: Any = DINOHead(4, out_dim=4, bottleneck_dim=4, layers=1).bfloat16()
    for weight in (
        head.get_parameter("mlp.0.weight"),
        head.last.parametrizations.weight.original1,
    ):
        nn.init.eye_(weight)
    x = torch.randn(64, 4).bfloat16()
    assert torch.equal(head(x), nn.functional.normalize(x.float(), dim=-1).bfloat16())


# Laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_frozen_norms_stay_one_whatever_is_learned(layers: int) -> None:
    torch.manual_seed(1)
    head: Any = DINOHead(5, out_dim=6, hidden_dim=8, bottleneck_dim=3, layers=layers)
    assert sum(isinstance(m, nn.Linear) for m in head.mlp) == layers
    optimizer = torch.optim.SGD([p for p in head.parameters() if p.requires_grad], 1.0)
    before = head.last.weight.detach().clone()
    head(torch.randn(9, 5)).square().sum().backward()
    trained = {name for name, p in head.named_parameters() if p.grad is not None}
    assert trained == {name for name, _ in head.named_parameters() if "original0" not in name}
    optimizer.step()
    assert (head.last.weight - before).abs().max() > 1e-3
    torch.testing.assert_close(head.last.weight.norm(dim=1), torch.ones(6))


def test_learned_norms_learn() -> None:
    head: Any = DINOHead(5, out_dim=6, hidden_dim=8, bottleneck_dim=3, freeze_norm=False)
    head(torch.randn(9, 5)).square().sum().backward()
    norm = head.last.parametrizations.weight.original0
    assert norm.grad is not None
    assert norm.grad.abs().min() > 0


def test_prototypes_are_held_as_the_docstring_says() -> None:
    head: Any = DINOHead(5, out_dim=6, hidden_dim=8, bottleneck_dim=3)
    before = head.last.weight.detach().clone()
    optimizer = torch.optim.SGD(head.parameters(), 1.0)
    head(torch.randn(9, 5)).square().sum().backward()
    head.last.parametrizations.weight.original1.grad = None
    optimizer.step()
    assert torch.equal(head.last.weight, before)


def test_scale_of_the_features_before_the_sphere_does_not_matter() -> None:
    head: Any = DINOHead(5, out_dim=6, bottleneck_dim=3, layers=1)
    x = torch.randn(4, 5)
    torch.testing.assert_close(head(x), head(1000 * x))
    assert head(x).abs().max() <= 1 + 1e-6


def test_tokens_are_rows_and_a_copy_is_a_teacher() -> None:
    head: Any = DINOHead(5, out_dim=6, hidden_dim=8, bottleneck_dim=3)
    x = torch.randn(2, 4, 5)
    torch.testing.assert_close(head(x), head(x.flatten(0, 1)).unflatten(0, (2, 4)))
    torch.testing.assert_close(copy.deepcopy(head)(x), head(x))


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    for name in ("hidden_dim", "bottleneck_dim", "layers", "out_dim"):
        with pytest.raises(ValueError, match=rf"DINOHead: {name} must be >= 1; got 0"):
            DINOHead(3, **{"out_dim": 4, "layers": 1, name: 0})  # type: ignore[arg-type]
    head: Any = DINOHead(3, out_dim=4, layers=1)
    with pytest.raises(ValueError, match=r"DINOHead: features must have size 3 in dimension 1"):
        head(torch.randn(2, 4))
    with pytest.raises(ValueError, match=r"DINOHead: axes of features must be >= 2; got 1"):
        head(torch.randn(3))
    with pytest.raises(ValueError, match=r"DINOHead: elements must be >= 1; got 0"):
        head(torch.randn(0, 3))
    with pytest.raises(ValueError, match=r"features must be floating point; got torch.int64"):
        head(torch.ones(2, 3, dtype=torch.int64))
