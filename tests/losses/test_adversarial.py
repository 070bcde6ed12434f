"""The adversarial pair against the published expectations of probabilities."""

import math

import pytest
import torch
from torch import Tensor

from ssltok.losses import (
    discriminator_loss,
    discriminator_terms,
    generator_loss,
    least_squares_discriminator_loss,
    least_squares_discriminator_terms,
    least_squares_generator_loss,
)
from tests.losses.laws import normal
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def discriminator(real: Tensor, fake: Tensor) -> Tensor:
    says_real, says_fake = (1 / (1 + (-x).exp()) for x in (real, fake))
    return -says_real.log().mean() - (1 - says_fake).log().mean()


def generator_(fake: Tensor) -> Tensor:
    return -(1 / (1 + (-fake).exp())).log().mean()


def squares(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean()


def square(fake: Tensor) -> Tensor:
    return 0.5 * ((fake - 1) ** 2).mean()


def two(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return normal(generator, 5, 3, scale=1.5), normal(generator, 4, 2, scale=1.5)


def one(generator: torch.Generator) -> tuple[Tensor]:
    return (normal(generator, 5, 3, scale=3.0),)


GAN = "Goodfellow et al. 2014"
LSGAN = "Mao et al. 2017, equation 9"
PARITY = [
    Parity("discriminator_loss", f"{GAN}, equation 1", discriminator_loss, discriminator, two),
    Parity("generator_loss", f"{GAN}, section 3", generator_loss, generator_, one),
    Parity(
        "least_squares_discriminator_loss", LSGAN, least_squares_discriminator_loss, squares, two
    ),
    Parity("least_squares_generator_loss", LSGAN, least_squares_generator_loss, square, one),
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.name)
def test_value_and_gradient_are_published(case: Parity) -> None:
    assert_parity(case)


@pytest.mark.parametrize("cut", [3, 1])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, cut: int) -> None:
    generator = torch.Generator().manual_seed(3)
    real, fake = normal(generator, 6, 2), normal(generator, 6, 2)
    for loss in (discriminator_loss, least_squares_discriminator_loss):
        assert_ranks_agree(two_ranks, loss, real, fake, cut=cut)
    for single in (generator_loss, least_squares_generator_loss):
        assert_ranks_agree(two_ranks, single, fake, cut=cut)


# --- known values ---------------------------------------------------------------------------


def test_a_sure_discriminator() -> None:
    sure = torch.tensor([200.0])
    assert discriminator_loss(sure, -sure) == 0
    assert discriminator_loss(-sure, sure).item() == 400
    assert generator_loss(-sure).item() == 200


def test_terms_are_the_parts() -> None:
    real, fake = torch.tensor([0.0]), torch.tensor([math.log(3.0)])
    said = [t.item() for t in discriminator_terms(real, fake)]
    assert said == pytest.approx([math.log(2), math.log(4)])
    said = [t.item() for t in least_squares_discriminator_terms(real, torch.tensor([4.0]))]
    assert said == pytest.approx([0.5, 8])


# --- laws -----------------------------------------------------------------------------------


def test_a_generator_that_is_seen_through_still_learns() -> None:
    fake = torch.tensor([-30.0], requires_grad=True)
    generator_loss(fake).backward()
    assert fake.grad is not None
    assert fake.grad.item() == pytest.approx(-1)  # the minimax form has exp(-30) here


# --- complaints -----------------------------------------------------------------------------


def test_bad_input_is_refused() -> None:
    good, empty, codes = torch.zeros(2), torch.zeros(0), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"^discriminator_loss: fake.numel\(\) must be >= 1; got"):
        discriminator_loss(good, empty)
    with pytest.raises(ValueError, match=r"^discriminator_loss: real must be floating point; got"):
        discriminator_loss(codes, good)
    with pytest.raises(ValueError, match=r"^generator_loss: fake must be floating point; got"):
        generator_loss(codes)
    with pytest.raises(ValueError, match=r"^least_squares_discriminator_loss: real.numel\(\) mus"):
        least_squares_discriminator_loss(empty, good)
    with pytest.raises(ValueError, match=r"^least_squares_generator_loss: fake must be floating"):
        least_squares_generator_loss(codes)
