"""LeNEPA: predict the next latent; along time, the latents of each series are Gaussian."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_positive, check_weights
from ssltok._shared.numerics import full_precision, upcast_pair
from ssltok.losses._directions import directions_for
from ssltok.losses._nepa import check_sequences, next_valid
from ssltok.losses._regression_error import mean_over_tokens
from ssltok.losses._slice_errors_fast import slice_errors

__all__ = ["LeNEPALoss", "LeNEPATerms", "lenepa_loss", "lenepa_terms"]


class LeNEPATerms(NamedTuple):
    r"""The two unweighted terms of `lenepa_loss`; each is a scalar.

    Attributes:
        prediction: Mean squared error of the next latent; 0 where no pair counts.
        gaussian: SIGReg over the time of each series, averaged over series and over both sides;
            0.40 for latents that are 0 everywhere (the defaults), near $1.06 / T$ for a Gaussian's.
    """

    prediction: Tensor
    gaussian: Tensor


def lenepa_loss(
    pred: Tensor,
    embeddings: Tensor,
    valid: Tensor | None = None,
    *,
    gaussian_weight: float = 20.0,
    slices: int = 256,
    points: int = 17,
    limit: float = 3.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Predict each next latent, and spread the latents of a series over time.

    $$\frac{1}{B (T - 1) D} \sum_{b, t} \lVert p_{bt} - e_{b, t + 1} \rVert^2
      + \lambda\, \frac{1}{2 B} \sum_b \bigl[ G(\{p_{bt}\}_t) + G(\{e_{bt}\}_t) \bigr]$$

    where $G$ is `sigreg_loss` of the tokens of one series **without the number of tokens in front**
    (as the authors have it), along the same directions for all. There is no augmentation, no
    teacher and no stop-gradient: both sides get a gradient, and $G$ alone keeps them from falling
    together. Both are projections, by one projector that is thrown away, of a causal network's
    outputs $p$ and of its inputs $e$; $p_t$ may see inputs up to $t$ and no more.

    Constants: $\lambda = 20$ and 256 directions in the paper's main runs, $\lambda = 2.5$ in its
    run for the UCR archive. The paper sums the squared error over features; its code, to which
    these weights belong, takes the mean.

    Over several processes it is a mean over series: give it `gather` of everything, or average it
    yourself; and generators of one seed.

    Args:
        pred: Predictions, `(batch, tokens, dim)`; the last of each sequence is in $G$ alone.
        embeddings: What goes into the network, projected, of the same shape; the first is in $G$
            alone.
        valid: Which tokens are real, `(batch, tokens)`, boolean; all if None. A pair counts where
            both of it are, a series where one of its tokens is. What stands elsewhere is not read,
            and may be NaN.
        gaussian_weight: $\lambda$.
        slices: The number of directions.
        points: Nodes of SIGReg's integral, at least 2.
        limit: The end of that integral, above 0.
        generator: The source of the directions, on the device of `pred`; torch's own by default.

    Returns:
        The loss, a scalar in float32 (float64 for float64 latents).

    Raises:
        ValueError: If shapes or dtypes do not fit, there are fewer than two tokens, or an option is
            out of its range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import lenepa_loss
        >>> ramp = torch.arange(4.0).view(1, 4, 1)
        >>> lenepa_loss(ramp + 3, ramp, gaussian_weight=0.0)  # 2 too far everywhere
        tensor(4.)

    References:
        Chemeris et al., *LeNEPA*, 2026, <https://arxiv.org/abs/2607.00958>: the prediction
        loss and temporal SIGReg; means over features, and SIGReg without the count, are the code's.
    """
    check_weights("lenepa_loss", gaussian_weight=gaussian_weight)
    terms = _terms("lenepa_loss", pred, embeddings, valid, slices, points, limit, generator)
    return terms.prediction + gaussian_weight * terms.gaussian


def lenepa_terms(
    pred: Tensor,
    embeddings: Tensor,
    valid: Tensor | None = None,
    *,
    slices: int = 256,
    points: int = 17,
    limit: float = 3.0,
    generator: torch.Generator | None = None,
) -> LeNEPATerms:
    """Compute the terms of `lenepa_loss` separately, for logging or other weights.

    Args:
        pred: As in `lenepa_loss`.
        embeddings: As in `lenepa_loss`.
        valid: As in `lenepa_loss`.
        slices: The number of directions.
        points: Nodes of SIGReg's integral, at least 2.
        limit: The end of that integral, above 0.
        generator: The source of the directions.

    Returns:
        The unweighted `LeNEPATerms`.

    Raises:
        ValueError: As `lenepa_loss` does.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import lenepa_terms
        >>> ramp = torch.arange(4.0).view(1, 4, 1)
        >>> lenepa_terms(ramp + 1, ramp).prediction
        tensor(0.)

    References:
        Chemeris et al., *LeNEPA*, 2026, <https://arxiv.org/abs/2607.00958>.
    """
    return _terms("lenepa_terms", pred, embeddings, valid, slices, points, limit, generator)


def _terms(
    who: str,
    pred: Tensor,
    embeddings: Tensor,
    valid: Tensor | None,
    slices: int,
    points: int,
    limit: float,
    generator: torch.Generator | None,
) -> LeNEPATerms:
    check_sequences(who, pred, embeddings, valid)
    check_at_least(who, "slices", slices, 1)
    check_at_least(who, "points", points, 2)
    check_positive(who, "limit", limit)
    with full_precision(pred):
        p, e = upcast_pair(pred, embeddings)
        if valid is not None:
            p, e = (torch.where(valid.unsqueeze(-1), x, 0) for x in (p, e))
        error = (p[:, :-1] - e[:, 1:]).square().mean(dim=-1)
        sides = torch.cat([p, e]).transpose(0, 1)  # (tokens, 2 * batch, dim)
        projected = sides @ directions_for(p, slices, generator)
        if valid is None:
            each = slice_errors(projected, points=points, limit=limit) / p.shape[1]
            prediction, gaussian = error.mean(), each.mean()
        else:
            counted, some = next_valid(valid), valid.any(dim=1).repeat(2)
            count = valid.sum(dim=1, keepdim=True).clamp(min=1).to(p.dtype)
            shares = (valid / count).repeat(2, 1).mT.unsqueeze(-1)  # (tokens, 2 * batch, 1)
            each = slice_errors(projected, points=points, limit=limit, shares=shares).mean(dim=-1)
            prediction = mean_over_tokens(torch.where(counted, error, 0), counted)
            gaussian = mean_over_tokens(each * some, some) / p.shape[1]
        return LeNEPATerms(prediction=prediction, gaussian=gaussian)


class LeNEPALoss(nn.Module):
    """`lenepa_loss` with its options bound once; see there for their meaning."""

    def __init__(
        self,
        *,
        gaussian_weight: float = 20.0,
        slices: int = 256,
        points: int = 17,
        limit: float = 3.0,
    ) -> None:
        super().__init__()
        self.gaussian_weight, self.slices = gaussian_weight, slices
        self.points, self.limit = points, limit

    def forward(
        self,
        pred: Tensor,
        embeddings: Tensor,
        valid: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of predictions and embeddings, `(batch, tokens, dim)` each."""
        return lenepa_loss(
            pred,
            embeddings,
            valid,
            gaussian_weight=self.gaussian_weight,
            slices=self.slices,
            points=self.points,
            limit=self.limit,
            generator=generator,
        )
