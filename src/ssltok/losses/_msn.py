"""MSN: a masked view should fall on the prototypes of the whole view, and all should be used."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_floating,
    check_size,
    check_weights,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._temperature import check_temperature

__all__ = ["MSNLoss", "MSNTerms", "msn_loss", "msn_terms", "power_law_prior"]


class MSNTerms(NamedTuple):
    r"""The two unweighted terms of `msn_loss`; each is a scalar.

    Attributes:
        cross_entropy: Mean cross-entropy of the masked views with their targets.
        concentration: $\mathrm{KL}(\bar p \,\Vert\, \pi)$ of the mean prediction from the prior; 0
            where they are equal, $\log K$ where one prototype takes all and the prior is uniform.
    """

    cross_entropy: Tensor
    concentration: Tensor


def msn_loss(
    anchors: Tensor,
    targets: Tensor,
    prior: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.1,
    me_max_weight: float = 1.0,
) -> Tensor:
    r"""Average the cross-entropy of masked views with their targets; keep all prototypes in use.

    $$-\frac{1}{V B} \sum_{v, b, k} q_{bk} \log p_{vbk} + \lambda\, (\log K - H(\bar p)), \qquad
      p_{vb} = \mathrm{softmax}(s_{vb} / \tau), \quad \bar p = \tfrac{1}{V B} \sum_{v, b} p_{vb}$$

    The second term is 0 when the mean prediction is uniform and $\log K$ when one prototype takes
    all; the paper writes $-\lambda H(\bar p)$, the code adds the constant. With a prior $\pi$
    (PMSN) it is $\mathrm{KL}(\bar p \,\Vert\, \pi)$, of which this is the uniform case: data whose
    groups are of unequal sizes should not be cut into equal ones. lightly has the other direction,
    $\mathrm{KL}(\pi \,\Vert\, \bar p)$. Predictions are held
    as logarithms, so an improbable prototype costs a large number, never an infinite one.

    The targets are an argument, and are detached. The published ones are sharpened with $T =
    0.25$, that is a softmax with the temperature $\tau T$: `(scores / 0.025).softmax(-1)`,
    then, in the code's recipes, three iterations of `sinkhorn` on their logarithms with
    `epsilon=1`. The mean prediction is one of the whole batch: gather the anchors.

    Args:
        anchors: Cosines of the masked views' features and the prototypes, `(views, batch,
            codebook_size)`.
        targets: Probabilities of the whole views, `(batch, codebook_size)`.
        prior: Share of each prototype, `(codebook_size,)`, above 0 and of sum 1, such as
            `power_law_prior`; detached, and uniform if `None`.
        temperature: $\tau$, of the anchors; a number, or a tensor of shape `()`, which may be
            learned.
        me_max_weight: $\lambda$, the weight of the second term.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If the shapes do not fit or the temperature is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import msn_loss
        >>> targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> msn_loss(torch.zeros(3, 2, 2), targets)  # ln 2 + 0
        tensor(0.6931)

    References:
        Assran et al., *MSN*, 2022, <https://arxiv.org/abs/2204.07141>, equation 1.
        Assran et al., *The Hidden Uniform Cluster Prior in Self-Supervised Learning* (PMSN), 2022,
        <https://arxiv.org/abs/2210.07277>, section 4.
    """
    check_weights("msn_loss", me_max_weight=me_max_weight)
    terms = _terms("msn_loss", anchors, targets, prior, temperature)
    return terms.cross_entropy + me_max_weight * terms.concentration


def msn_terms(
    anchors: Tensor,
    targets: Tensor,
    prior: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.1,
) -> MSNTerms:
    """Compute the terms of `msn_loss` separately, for logging or other weights.

    Raises:
        ValueError: As of `msn_loss`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import msn_terms
        >>> targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> terms = msn_terms(torch.zeros(3, 2, 2), targets)
        >>> terms.cross_entropy, terms.concentration  # ln 2, and all prototypes in use
        (tensor(0.6931), tensor(0.))
    """
    return _terms("msn_terms", anchors, targets, prior, temperature)


def power_law_prior(codebook_size: int, *, exponent: float = 0.25) -> Tensor:
    r"""Return PMSN's prior: prototype $k$ has a share proportional to $k^{-\gamma}$.

    Args:
        codebook_size: How many prototypes there are.
        exponent: $\gamma \ge 0$; 0 is uniform, the paper's 0.25 is mildly unequal.

    Returns:
        Shares, float32 `(codebook_size,)`, the largest first.

    Raises:
        ValueError: If `codebook_size < 1` or the exponent is negative.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.losses import power_law_prior
        >>> power_law_prior(3, exponent=1.0) * 11  # 1, 1/2 and 1/3
        tensor([6., 3., 2.])

    References:
        Assran et al., *The Hidden Uniform Cluster Prior in Self-Supervised Learning* (PMSN), 2022,
        <https://arxiv.org/abs/2210.07277>, section 4.
    """
    check_at_least("power_law_prior", "codebook_size", codebook_size, 1)
    check_at_least("power_law_prior", "exponent", exponent, 0)
    shares = torch.arange(1, codebook_size + 1, dtype=torch.float64) ** -exponent
    return (shares / shares.sum()).float()


def _terms(
    who: str,
    anchors: Tensor,
    targets: Tensor,
    prior: Tensor | None,
    temperature: float | Tensor,
) -> MSNTerms:
    check_axes(who, "anchors", anchors, "views batch codebook_size")
    check_axes(who, "targets", targets, "batch codebook_size")
    check_floating(who, "anchors", anchors)
    check_floating(who, "targets", targets)
    if anchors.shape[1:] != targets.shape:
        raise ValueError(
            f"{who}: anchors must be (views, batch, codebook_size) with targets (batch, "
            f"codebook_size); got {tuple(anchors.shape)} and {tuple(targets.shape)}"
        )
    check_at_least(who, "anchors.numel()", anchors.numel(), 1)
    if prior is not None:
        check_floating(who, "prior", prior)
        check_axes(who, "prior", prior, "codebook_size")
        check_size(who, "prior", prior, 0, targets.shape[1])
    check_temperature(who, "temperature", temperature)
    with full_precision(anchors):
        logs = torch.log_softmax(upcast(anchors) / temperature, -1)
        views, batch, codebook_size = logs.shape
        # The targets are the same for all views, so the views are added first.
        crossing = (logs.sum(0) * targets.detach()).sum() / (views * batch)
        mean = logs.flatten(0, 1).logsumexp(0) - math.log(views * batch)
        if prior is None:
            concentration = (mean.exp() * mean).sum() + math.log(codebook_size)
        else:
            known = upcast(prior.detach()).to(mean.dtype).log()
            concentration = (mean.exp() * (mean - known)).sum()
        return MSNTerms(cross_entropy=-crossing, concentration=concentration)


class MSNLoss(nn.Module):
    """`msn_loss` with its options bound once; see there for their meaning."""

    def __init__(self, *, temperature: float | Tensor = 0.1, me_max_weight: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.me_max_weight = me_max_weight

    def forward(self, anchors: Tensor, targets: Tensor, prior: Tensor | None = None) -> Tensor:
        """Return the loss of anchors' scores and targets' probabilities, with a prior or none."""
        return msn_loss(
            anchors,
            targets,
            prior,
            temperature=self.temperature,
            me_max_weight=self.me_max_weight,
        )
