"""CPC's loss against its equation, series by series and step by step."""

import math

import pytest
import torch
from torch import Tensor

from ssltok.losses import temporal_contrastive_loss
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def oracle(pred: Tensor, future: Tensor) -> Tensor:
    """Equation 4 with f = exp(z' W c): the softmax runs over futures for each prediction."""
    batch, steps = pred.shape[:2]
    terms = []
    for k in range(steps):
        for i in range(batch):
            scores = torch.stack([(pred[i, k] @ future[j, k]).exp() for j in range(batch)])
            terms.append(-(scores[i] / scores.sum()).log())
    return torch.stack(terms).mean()


def ts_tcc(pred: Tensor, future: Tensor) -> Tensor:
    """The code of TS-TCC: rows are futures, and the log-softmax runs over predictions."""
    batch, steps = pred.shape[:2]
    nce = torch.zeros((), dtype=pred.dtype)
    for k in range(steps):
        total = torch.mm(future[:, k], pred[:, k].T)
        nce = nce + torch.sum(torch.diag(torch.log_softmax(total, dim=1)))
    return nce / (-1.0 * batch * steps)


def swapped(pred: Tensor, future: Tensor) -> Tensor:
    return temporal_contrastive_loss(future, pred)


def latents(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    z, noise = torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64)
    return z, 0.6 * z + 0.8 * noise + 0.2


PARITY = [
    Parity(
        "temporal_contrastive_loss",
        "van den Oord et al. 2018, equation 4",
        temporal_contrastive_loss,
        oracle,
        latents,
    ),
    Parity(
        "temporal_contrastive_loss",
        "the code of TS-TCC (arguments swapped)",
        swapped,
        ts_tcc,
        latents,
    ),
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


def test_two_ranks_are_the_whole_batch(two_ranks: Ranks) -> None:
    inputs = latents(torch.Generator().manual_seed(0))
    assert_ranks_agree(two_ranks, temporal_contrastive_loss, *inputs, cut=2)


# --- known values ---------------------------------------------------------------------------


def test_chance_is_the_log_of_the_batch() -> None:
    z = torch.zeros(7, 2, 3)
    assert temporal_contrastive_loss(z, z).item() == pytest.approx(math.log(7))


def test_orthogonal_futures() -> None:
    z = 2 * torch.eye(3, dtype=torch.float64)[:, None]
    value = temporal_contrastive_loss(z, z).item()
    assert value == pytest.approx(math.log(math.exp(4) + 2) - 4)


# --- laws -----------------------------------------------------------------------------------


def test_both_sides_are_trained() -> None:
    pred, future = (z.requires_grad_() for z in latents(torch.Generator().manual_seed(0)))
    gradients = torch.autograd.grad(temporal_contrastive_loss(pred, future), (pred, future))
    assert all(gradient.abs().sum() > 0.01 for gradient in gradients)


def test_steps_are_averaged() -> None:
    pred, future = latents(torch.Generator().manual_seed(0))
    each = [temporal_contrastive_loss(pred[:, [k]], future[:, [k]]) for k in range(3)]
    torch.testing.assert_close(temporal_contrastive_loss(pred, future), sum(each) / 3)


def test_gradients_are_right() -> None:
    inputs = [z.requires_grad_() for z in latents(torch.Generator().manual_seed(0))]
    assert torch.autograd.gradcheck(temporal_contrastive_loss, inputs)
    assert torch.autograd.gradgradcheck(temporal_contrastive_loss, inputs)


# --- complaints -----------------------------------------------------------------------------

Z = torch.zeros(2, 3, 4)


@pytest.mark.parametrize(
    ("pred", "future", "said"),
    [
        (Z, Z[:, :2], r"loss: pred and future must share one shape; got \(2, 3, 4\) and"),
        (Z[0], Z[0], r"loss: pred must be \(batch, steps, dim\); got shape \(3, 4\)$"),
        (Z[:1], Z[:1], r"loss: batch must be >= 2; got 1$"),
        (Z[:, :0], Z[:, :0], r"loss: steps must be >= 1; got 0$"),
        (Z.int(), Z, r"loss: pred must be floating point; got torch.int32$"),
    ],
)
def test_bad_input_is_refused(pred: Tensor, future: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match="^temporal_contrastive_" + said):
        temporal_contrastive_loss(pred, future)
