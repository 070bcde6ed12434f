"""The Gaussian divergence against its formula and against torch's own distributions."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from ssltok.losses import gaussian_kl_loss
from tests.losses.laws import normal
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def oracle(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Appendix B, with its sign turned: the loss is what is subtracted from the bound."""
    per_series = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).flatten(1).sum(1)
    return per_series.mean()


def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return normal(generator, 5, 3, 2), normal(generator, 5, 3, 2)


PARITY = [
    Parity(
        "gaussian_kl_loss", "Kingma and Welling 2014, appendix B", gaussian_kl_loss, oracle, draw
    )
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_published(case: Parity) -> None:
    assert_parity(case)


def test_is_the_divergence_of_torchs_distributions() -> None:
    mean, log_variance = draw(torch.Generator().manual_seed(0))
    divergence = kl_divergence(
        Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros_like(mean), 1.0)
    )
    torch.testing.assert_close(gaussian_kl_loss(mean, log_variance), divergence.sum() / 5)


@pytest.mark.parametrize("cut", [3, 1])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, cut: int) -> None:
    generator = torch.Generator().manual_seed(3)
    mean, log_variance = normal(generator, 6, 4), normal(generator, 6, 4, scale=0.3)
    assert_ranks_agree(two_ranks, gaussian_kl_loss, mean, log_variance, cut=cut)


# --- known values ---------------------------------------------------------------------------


def test_closed_forms() -> None:
    zero = torch.zeros(2, 3)
    assert gaussian_kl_loss(zero, zero) == 0
    assert gaussian_kl_loss(zero + 2, zero).item() == pytest.approx(3 * 2)
    # variance e: (e - 2) / 2 for each latent
    assert gaussian_kl_loss(zero, zero + 1).item() == pytest.approx(3 * (math.e - 2) / 2)


# --- laws -----------------------------------------------------------------------------------


def test_keeps_its_digits_near_the_prior() -> None:
    """For a small logarithm v the loss is v squared over 4; 1 + v - exp(v) has no digits left."""
    small = torch.full((1, 1), 1e-3)
    value = gaussian_kl_loss(torch.zeros(1, 1), small)
    assert value.item() == pytest.approx(1e-6 / 4, rel=2e-3)


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "log_variance", "said"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), r"mean and log_variance must share one shape; got"),
        (torch.zeros(3), torch.zeros(3), r"mean.ndim must be >= 2; got 1$"),
        (torch.zeros(0, 3), torch.zeros(0, 3), r"mean.numel\(\) must be >= 1; got 0$"),
        (torch.zeros(2, 3).long(), torch.zeros(2, 3).long(), r"mean must be floating point; got"),
    ],
)
def test_bad_input_is_refused(mean: Tensor, log_variance: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=r"^gaussian_kl_loss: " + said):
        gaussian_kl_loss(mean, log_variance)
