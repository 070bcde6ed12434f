"""Adversarial pair: a discriminator tells real from generated, a generator makes it err."""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from ssltok._shared.checks import check_at_least, check_floating
from ssltok._shared.numerics import full_precision, upcast

__all__ = [
    "DiscriminatorLoss",
    "DiscriminatorTerms",
    "GeneratorLoss",
    "LeastSquaresDiscriminatorLoss",
    "LeastSquaresGeneratorLoss",
    "discriminator_loss",
    "discriminator_terms",
    "generator_loss",
    "least_squares_discriminator_loss",
    "least_squares_discriminator_terms",
    "least_squares_generator_loss",
]


class DiscriminatorTerms(NamedTuple):
    """What the discriminator pays; each is a scalar.

    Attributes:
        real: On real samples.
        fake: On generated ones.
    """

    real: Tensor
    fake: Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    r"""Ask a discriminator to say 1 of real samples and 0 of generated ones.

    $$-\mathbb{E} \log \sigma(D(x)) - \mathbb{E} \log (1 - \sigma(D(\hat x)))$$

    In the adversarial autoencoder the real samples are drawn from the prior and the generated ones
    are codes; in the context encoder they are patches. Detach the samples before the discriminator
    (`D(generated.detach())`), not its scores, or the discriminator learns nothing. Both means are
    over all scores, so the two batches may differ in size. $2 \ln 2$ means that it cannot tell.

    Args:
        real: Scores of real samples before the sigmoid, `(batch, ...)`.
        fake: Scores of generated samples before the sigmoid, `(batch, ...)`.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If the scores are not floating point or empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import discriminator_loss
        >>> discriminator_loss(torch.zeros(3), torch.zeros(2))  # 2 ln 2
        tensor(1.3863)

    References:
        Goodfellow et al., *Generative adversarial nets*, 2014, <https://arxiv.org/abs/1406.2661>,
        equation 1, algorithm 1.
        Makhzani et al., *Adversarial autoencoders*, 2015, <https://arxiv.org/abs/1511.05644>.
        Pathak et al., *Context encoders*, 2016, <https://arxiv.org/abs/1604.07379>, equation 2.
    """
    terms = _terms("discriminator_loss", real, fake)
    return terms.real + terms.fake


def discriminator_terms(real: Tensor, fake: Tensor) -> DiscriminatorTerms:
    """Compute the terms of `discriminator_loss` separately: one of them at 0 shows who wins.

    Raises:
        ValueError: As of `discriminator_loss`.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import discriminator_terms
        >>> terms = discriminator_terms(torch.zeros(3), torch.zeros(2))  # ln 2 each
        >>> terms.real, terms.fake
        (tensor(0.6931), tensor(0.6931))
    """
    return _terms("discriminator_terms", real, fake)


def _terms(who: str, real: Tensor, fake: Tensor) -> DiscriminatorTerms:
    real, fake = _checked(who, real=real, fake=fake)
    with full_precision(real):
        return DiscriminatorTerms(real=-logsigmoid(real).mean(), fake=-logsigmoid(-fake).mean())


def generator_loss(fake: Tensor) -> Tensor:
    r"""Ask a generator to be taken for real, in the non-saturating form.

    $$-\mathbb{E} \log \sigma(D(\hat x))$$

    The minimax form $\mathbb{E} \log (1 - \sigma(D(\hat x)))$ has the same fixed point, but
    hardly a slope where the discriminator is sure; the paper trains with this one.

    Args:
        fake: Scores of generated samples before the sigmoid, `(batch, ...)`.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If the scores are not floating point or empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import generator_loss
        >>> generator_loss(torch.zeros(3))  # ln 2
        tensor(0.6931)

    References:
        Goodfellow et al., *Generative adversarial nets*, 2014, <https://arxiv.org/abs/1406.2661>,
        section 3.
    """
    (fake,) = _checked("generator_loss", fake=fake)
    with full_precision(fake):
        return -logsigmoid(fake).mean()


def least_squares_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    r"""Ask a discriminator for the numbers 1 and 0 themselves.

    $$\tfrac{1}{2} \mathbb{E} (D(x) - 1)^2 + \tfrac{1}{2} \mathbb{E} D(\hat x)^2$$

    Args:
        real: Scores of real samples, `(batch, ...)`.
        fake: Scores of generated samples, `(batch, ...)`.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If the scores are not floating point or empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import least_squares_discriminator_loss
        >>> least_squares_discriminator_loss(torch.tensor([1.0, 3.0]), torch.tensor([0.0]))
        tensor(1.)

    References:
        Mao et al., *Least squares generative adversarial networks*, 2017,
        <https://arxiv.org/abs/1611.04076>, equations 2 and 9.
    """
    terms = _least_squares_terms("least_squares_discriminator_loss", real, fake)
    return terms.real + terms.fake


def least_squares_discriminator_terms(real: Tensor, fake: Tensor) -> DiscriminatorTerms:
    """Compute the terms of `least_squares_discriminator_loss` separately, halves included.

    Raises:
        ValueError: As of `least_squares_discriminator_loss`.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import least_squares_discriminator_terms
        >>> terms = least_squares_discriminator_terms(torch.ones(3), torch.ones(2))  # all said real
        >>> terms.real, terms.fake
        (tensor(0.), tensor(0.5000))
    """
    return _least_squares_terms("least_squares_discriminator_terms", real, fake)


def _least_squares_terms(who: str, real: Tensor, fake: Tensor) -> DiscriminatorTerms:
    real, fake = _checked(who, real=real, fake=fake)
    return DiscriminatorTerms(real=(real - 1).square().mean() / 2, fake=fake.square().mean() / 2)


def least_squares_generator_loss(fake: Tensor) -> Tensor:
    r"""Ask a generator for the score 1.

    $$\tfrac{1}{2} \mathbb{E} (D(\hat x) - 1)^2$$

    Args:
        fake: Scores of generated samples, `(batch, ...)`.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If the scores are not floating point or empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import least_squares_generator_loss
        >>> least_squares_generator_loss(torch.tensor([3.0, 1.0]))
        tensor(1.)

    References:
        Mao et al., *Least squares generative adversarial networks*, 2017,
        <https://arxiv.org/abs/1611.04076>, equations 2 and 9.
    """
    (fake,) = _checked("least_squares_generator_loss", fake=fake)
    return (fake - 1).square().mean() / 2


def _checked(who: str, **scores: Tensor) -> list[Tensor]:
    for name, score in scores.items():
        check_floating(who, name, score)
        check_at_least(who, f"{name}.numel()", score.numel(), 1)
    return [upcast(score) for score in scores.values()]


class DiscriminatorLoss(nn.Module):
    """`discriminator_loss` as a module."""

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the loss of scores of real and of generated samples."""
        return discriminator_loss(real, fake)


class GeneratorLoss(nn.Module):
    """`generator_loss` as a module."""

    def forward(self, fake: Tensor) -> Tensor:
        """Return the loss of scores of generated samples."""
        return generator_loss(fake)


class LeastSquaresDiscriminatorLoss(nn.Module):
    """`least_squares_discriminator_loss` as a module."""

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the loss of scores of real and of generated samples."""
        return least_squares_discriminator_loss(real, fake)


class LeastSquaresGeneratorLoss(nn.Module):
    """`least_squares_generator_loss` as a module."""

    def forward(self, fake: Tensor) -> Tensor:
        """Return the loss of scores of generated samples."""
        return least_squares_generator_loss(fake)
