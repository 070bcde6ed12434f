"""Prototypes: SwAV's normalised linear layer, whose normalisation is a line of its own."""

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from ssltok.state import Prototypes


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# oracle


def test_trains_like_the_published_layer() -> None:
    """SwAV: normalise the weights in place, then a plain linear layer of normalised features."""
    layer = Prototypes(4, 6, generator=seeded()).double()
    linear = nn.Linear(4, 6, bias=False).double()
    layer.update()  # unit in double precision
    linear.weight.data.copy_(3 * layer.weight.data)
    ours = torch.optim.SGD(layer.parameters(), lr=0.3)
    theirs = torch.optim.SGD(linear.parameters(), lr=0.3)
    for seed in range(5):
        z = torch.randn(3, 4, generator=seeded(seed)).double()
        linear.weight.data.copy_(normalize(linear.weight.data, dim=1))
        scores, want = layer(z), linear(normalize(z, dim=1))
        torch.testing.assert_close(scores, want, rtol=1e-12, atol=1e-12)
        for loss, optimizer in ((scores, ours), (want, theirs)):
            optimizer.zero_grad()
            (loss.softmax(1) * torch.arange(6)).sum().backward()
            optimizer.step()
        layer.update()


# known values


def test_scores_are_cosines() -> None:
    layer = Prototypes(3, 2)
    layer.weight.data.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]]))
    z = torch.tensor([[5.0, 0.0, 0.0], [0.0, -3.0, -4.0]])
    torch.testing.assert_close(layer(z), torch.tensor([[1.0, 0.0], [0.0, -1.0]]))


# laws


def test_forward_reads_and_update_writes() -> None:
    layer = Prototypes(3, 5, generator=seeded())
    layer.weight.data.mul_(7)
    layer(torch.ones(2, 3))
    torch.testing.assert_close(layer.weight.norm(dim=1), torch.full((5,), 7.0))
    layer.update()
    torch.testing.assert_close(layer.weight.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(layer.weight, Prototypes(3, 5, generator=seeded()).weight)


def test_takes_views_and_tokens() -> None:
    layer = Prototypes(3, 5)
    z = torch.randn(2, 4, 3)
    torch.testing.assert_close(layer(z)[1, 2], layer(z[1, 2]))


def test_finite_at_collapse() -> None:
    layer = Prototypes(3, 5)
    z = torch.zeros(2, 3, requires_grad=True)
    layer(z).sum().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_round_trip_of_its_state() -> None:
    layer, other = Prototypes(3, 5), Prototypes(3, 5)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(torch.ones(1, 3)), layer(torch.ones(1, 3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("inputs", [torch.float32, torch.bfloat16])
def test_scores_are_cosines_in_single_precision_under_autocast(
    dtype: torch.dtype, inputs: torch.dtype
) -> None:
    layer = Prototypes(64, 5, generator=seeded()).to(dtype)
    z = torch.randn(4, 64, generator=seeded(1)).to(inputs)
    expected = torch.nn.functional.normalize(z.double(), dim=-1) @ layer.weight.double().T
    for inside in (True, False):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=inside):
            scores = layer(z)
        assert scores.dtype == torch.float32
        torch.testing.assert_close(scores.double(), expected, rtol=0, atol=1e-6)


def test_a_feature_of_zero_gets_no_gradient() -> None:
    layer = Prototypes(3, 5, generator=seeded())
    z = torch.tensor([[0.0, 0.0, 0.0], [2e20, 0.0, -1e20]], requires_grad=True)
    scores = layer(z)
    scores.sum().backward()
    assert not scores[0].any()
    unit = torch.tensor([2.0, 0.0, -1.0]) / 5**0.5
    torch.testing.assert_close(scores[1], layer.weight @ unit)
    assert z.grad is not None
    assert not z.grad[0].any()
    assert z.grad.isfinite().all()


# complaints


def test_refuses() -> None:
    layer = Prototypes(3, 5)
    with pytest.raises(ValueError, match=r"^Prototypes: z must end in 3 features; got \(2, 4\)$"):
        layer(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"z must be floating point; got torch.int64$"):
        layer(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"dim must be >= 1; got 0$"):
        Prototypes(0, 3)
    with pytest.raises(ValueError, match=r"prototypes must be >= 1; got 0$"):
        Prototypes(3, 0)
