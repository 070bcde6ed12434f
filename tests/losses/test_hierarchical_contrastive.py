"""TS2Vec's loss against its algorithm, anchor by anchor at each scale."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok.losses import hierarchical_contrastive_loss
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def instance(a: Tensor, b: Tensor) -> Tensor:
    """Equation 2, for every sample, in both directions; all steps of a sample at once."""
    batch = len(a)
    terms = []
    for x, y in ((a, b), (b, a)):
        for i in range(batch):
            same = [(x[i] * x[j]).sum(-1).exp() for j in range(batch) if j != i]
            other = [(x[i] * y[j]).sum(-1).exp() for j in range(batch)]
            terms.append(-(other[i] / torch.stack(same + other).sum(0)).log())
    return torch.stack(terms).mean()


def temporal(a: Tensor, b: Tensor) -> Tensor:
    """Equation 1: the same with samples and steps exchanged."""
    return instance(a.transpose(0, 1), b.transpose(0, 1))


def oracle(a: Tensor, b: Tensor, *, instance_weight: float, temporal_unit: int) -> Tensor:
    """Algorithm 1 with the choices of the authors' code."""
    loss, scale = torch.zeros((), dtype=a.dtype), 0
    while a.shape[1] > 1:
        if len(a) > 1:
            loss = loss + instance_weight * instance(a, b)
        if scale >= temporal_unit:
            loss = loss + (1 - instance_weight) * temporal(a, b)
        scale += 1
        a, b = (torch.nn.functional.max_pool1d(z.mT, kernel_size=2).mT for z in (a, b))
    if len(a) > 1:
        loss = loss + instance_weight * instance(a, b)
    return loss / (scale + 1)


def views(batch: int, tokens: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    z, noise = torch.randn(2, batch, tokens, 2, generator=generator, dtype=torch.float64)
    return z, 0.7 * z + 0.5 * noise + 0.1


PARITY = [
    Parity(
        "hierarchical_contrastive_loss",
        f"Yue et al. 2022, algorithm 1, {name}",
        partial(hierarchical_contrastive_loss, instance_weight=weight, temporal_unit=unit),
        partial(oracle, instance_weight=weight, temporal_unit=unit),
        partial(views, batch, tokens),
    )
    for batch, tokens, weight, unit, name in [
        (3, 4, 0.5, 0, "their weight"),
        (2, 7, 0.3, 0, "an odd length"),
        (2, 5, 0.8, 1, "no temporal term at the finest scale"),
        (1, 3, 0.4, 0, "one sample"),
        (3, 1, 0.4, 0, "one step"),
    ]
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


def test_two_ranks_are_the_whole_batch(two_ranks: Ranks) -> None:
    inputs = views(5, 6, torch.Generator().manual_seed(0))
    assert_ranks_agree(two_ranks, hierarchical_contrastive_loss, *inputs, cut=2)


# --- known values ---------------------------------------------------------------------------


def test_everything_alike_costs_the_logs_of_the_others() -> None:
    """Scales of 4, 2 and 1 steps: instance log 5 at each, temporal log 7 and log 3."""
    z = torch.zeros(3, 4, 2, dtype=torch.float64)
    expected = (0.5 * 3 * math.log(5) + 0.5 * (math.log(7) + math.log(3))) / 3
    assert hierarchical_contrastive_loss(z, z).item() == pytest.approx(expected)


def test_the_ends_of_the_weight() -> None:
    z = torch.zeros(3, 4, 2, dtype=torch.float64)
    only = partial(hierarchical_contrastive_loss, z, z)
    assert only(instance_weight=1.0).item() == pytest.approx(math.log(5))
    assert only(instance_weight=0.0).item() == pytest.approx((math.log(7) + math.log(3)) / 3)


# --- laws -----------------------------------------------------------------------------------


def test_the_views_are_symmetric() -> None:
    z_a, z_b = views(3, 5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        hierarchical_contrastive_loss(z_a, z_b), hierarchical_contrastive_loss(z_b, z_a)
    )


def test_gradients_are_right() -> None:
    inputs = [z.requires_grad_() for z in views(2, 5, torch.Generator().manual_seed(0))]
    assert torch.autograd.gradcheck(hierarchical_contrastive_loss, inputs)


def test_large_dot_products_do_not_overflow() -> None:
    inputs = [1e4 * z.float() for z in views(2, 5, torch.Generator().manual_seed(0))]
    assert hierarchical_contrastive_loss(*inputs).isfinite()


# --- complaints -----------------------------------------------------------------------------

Z = torch.zeros(2, 3, 4)


@pytest.mark.parametrize(
    ("z_a", "z_b", "options", "said"),
    [
        (Z, Z[:1], {}, r"loss: z_a and z_b must share one shape; got \(2, 3, 4\) and \(1, 3, 4\)$"),
        (Z[0], Z[0], {}, r"loss: z_a must be \(batch, tokens, dim\); got shape \(3, 4\)$"),
        (Z[:0], Z[:0], {}, r"loss: batch must be >= 1; got 0$"),
        (Z[:, :0], Z[:, :0], {}, r"loss: tokens must be >= 1; got 0$"),
        (Z[:1, :1], Z[:1, :1], {}, r"loss: batch \* tokens must be >= 2; got 1$"),
        (Z, Z, {"instance_weight": 1.1}, r"loss: instance_weight must lie in \[0, 1\]; got 1.1$"),
        (Z, Z, {"temporal_unit": -1}, r"loss: temporal_unit must be >= 0; got -1$"),
        (Z, Z.int(), {}, r"loss: z_b must be floating point; got torch.int32$"),
    ],
)
def test_bad_input_is_refused(z_a: Tensor, z_b: Tensor, options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match="^hierarchical_contrastive_" + said):
        hierarchical_contrastive_loss(z_a, z_b, **options)
