"""VICRegL: tokens of two views that look alike, or stand at the same place, agree as in VICReg."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_size,
    check_weights,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._vicreg import VICRegTerms, vicreg_terms

__all__ = ["VICRegLLoss", "VICRegLTerms", "vicregl_loss", "vicregl_terms"]


class VICRegLTerms(NamedTuple):
    """The three unweighted terms of VICReg, added over both kinds of match; each is a scalar.

    Attributes:
        invariance: Mean squared difference of matched tokens.
        variance: Hinge on the standard deviation of each feature over the batch.
        covariance: Squared covariances of different features.
    """

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def vicregl_loss(
    z_a: Tensor,
    z_b: Tensor,
    places_a: Tensor,
    places_b: Tensor,
    valid_a: Tensor | None = None,
    valid_b: Tensor | None = None,
    *,
    matches: int = 20,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    eps: float = 1e-4,
) -> Tensor:
    r"""Match tokens of two views by feature and by place, and let VICReg make the matches agree.

    $$\sum_{d \in \{\text{feature},\, \text{place}\}} \tfrac{1}{2} \bigl[
      V\bigl(a_d, b_{d}(a)\bigr) + V\bigl(b_d, a_{d}(b)\bigr) \bigr]$$

    where $V$ is `vicreg_loss` on `(batch, matches, dim)`, and $a_d$ holds the `matches` tokens of a
    series whose nearest token of the other view, $b_d(a)$, is nearest by the distance $d$ of
    features or of places; the nearest pair first, the earlier token first where two are equally
    near. No gradient flows through the matching. It is the local part: the method adds the global
    one, `alpha * vicreg_loss(pooled_a, pooled_b) + (1 - alpha) * vicregl_loss(...)` with
    $\alpha = 0.75$.

    With `valid`, padding is no match, and each rank of match has the statistics of the series that
    reach it; ranks of fewer than two series have none.

    Constants: 25, 25, 1 and 20 matches are the paper's. The authors' code and lightly halve the
    variance and the covariance: `variance_weight=12.5, covariance_weight=0.5`. Their second search
    keeps 4 matches, ours as many as the first.

    Over several processes, give it `gather` of each input.

    Args:
        z_a: Projected tokens of one view, `(batch, tokens, dim)`, two series or more.
        z_b: Those of the other view, `(batch, tokens, dim)`, of any number of tokens.
        places_a: Where each token stands in the series, `(batch, tokens)`, or
            `(batch, tokens, axes)` for several coordinates.
        places_b: The same of the other view.
        valid_a: Which tokens are real, `(batch, tokens)`; all if `None`. Others are not read.
        valid_b: The same of the other view.
        matches: How many pairs a series keeps; all tokens where there are fewer.
        invariance_weight: $\lambda$.
        variance_weight: $\mu$.
        covariance_weight: $\nu$.
        eps: $\epsilon \ge 0$ under the root of the deviation.

    Returns:
        The loss, a scalar in float32 (float64 for float64 tokens).

    Raises:
        ValueError: If shapes or dtypes do not fit, `batch < 2`, `matches < 1`, or `eps < 0`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import vicregl_loss
        >>> z = 2 * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> z, place = z[:, None], torch.zeros(4, 1)  # one token a series: two of vicreg_loss
        >>> vicregl_loss(z, z + 1, place, place)
        tensor(50.)

    References:
        Bardes et al., *VICRegL*, 2022, <https://arxiv.org/abs/2210.01571>, equations 2 to 5.
    """
    check_weights(
        "vicregl_loss",
        invariance_weight=invariance_weight,
        variance_weight=variance_weight,
        covariance_weight=covariance_weight,
    )
    terms = _terms(
        "vicregl_loss", z_a, z_b, places_a, places_b, valid_a, valid_b, matches=matches, eps=eps
    )
    return (
        invariance_weight * terms.invariance
        + variance_weight * terms.variance
        + covariance_weight * terms.covariance
    )


def vicregl_terms(
    z_a: Tensor,
    z_b: Tensor,
    places_a: Tensor,
    places_b: Tensor,
    valid_a: Tensor | None = None,
    valid_b: Tensor | None = None,
    *,
    matches: int = 20,
    eps: float = 1e-4,
) -> VICRegLTerms:
    """Compute the terms of `vicregl_loss` separately, for logging or other weights.

    Raises:
        ValueError: As of `vicregl_loss`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import vicregl_terms
        >>> z = 2 * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> z, place = z[:, None], torch.zeros(4, 1)
        >>> vicregl_terms(z, z + 1, place, place).invariance  # 1 by feature, 1 by place
        tensor(2.)
    """
    return _terms(
        "vicregl_terms", z_a, z_b, places_a, places_b, valid_a, valid_b, matches=matches, eps=eps
    )


def _terms(
    who: str,
    z_a: Tensor,
    z_b: Tensor,
    places_a: Tensor,
    places_b: Tensor,
    valid_a: Tensor | None,
    valid_b: Tensor | None,
    *,
    matches: int,
    eps: float,
) -> VICRegLTerms:
    check_floating(who, "z_a", z_a)
    check_axes(who, "z_a", z_a, "batch tokens dim")
    _check_side(who, "a", z_a, places_a, valid_a, like=z_a)
    _check_side(who, "b", z_b, places_b, valid_b, like=z_a)
    if places_a.shape[2:] != places_b.shape[2:]:
        raise ValueError(
            f"{who}: places_a and places_b must have the same axes; "
            f"got {tuple(places_a.shape)} and {tuple(places_b.shape)}"
        )
    check_at_least(who, "batch", z_a.shape[0], 2)
    check_at_least(who, "matches", matches, 1)
    check_at_least(who, "eps", eps, 0)
    ragged = valid_a is not None or valid_b is not None
    with full_precision(z_a):
        a, real_a = _real(upcast(z_a), valid_a)
        b, real_b = _real(upcast(z_b), valid_b)
        parts = []
        for of_a, of_b in ((a.detach(), b.detach()), (places_a, places_b)):
            with torch.no_grad():
                x, y = (upcast(side).flatten(2) if side.ndim > 2 else upcast(side)[..., None]
                        for side in (of_a, of_b))  # fmt: skip
                distance = torch.cdist(
                    x, y.to(x.dtype), compute_mode="donot_use_mm_for_euclid_dist"
                )
                near_a, far_b, both_a = _closest(distance, real_a, real_b, matches)
                near_b, far_a, both_b = _closest(distance.mT, real_b, real_a, matches)
            for one, other, counted in (
                (_at(a, near_a), _at(b, far_b), both_a),
                (_at(b, near_b), _at(a, far_a), both_b),
            ):
                parts.append(
                    _ragged_terms(one, other, counted, eps)
                    if ragged
                    else vicreg_terms(one, other, eps=eps)
                )
        return VICRegLTerms(*(torch.stack(term).sum() / 2 for term in zip(*parts, strict=True)))


def _check_side(
    who: str, side: str, z: Tensor, places: Tensor, valid: Tensor | None, *, like: Tensor
) -> None:
    check_floating(who, f"z_{side}", z)
    check_axes(who, f"z_{side}", z, "batch tokens dim")
    check_size(who, f"z_{side}", z, 0, like.shape[0])
    check_size(who, f"z_{side}", z, 2, like.shape[2])
    check_at_least(who, f"z_{side}.numel()", z.numel(), 1)
    check_floating(who, f"places_{side}", places)
    if places.shape[:2] != z.shape[:2] or places.ndim not in (2, 3):
        raise ValueError(
            f"{who}: places_{side} must be (batch, tokens) or (batch, tokens, axes) of "
            f"z_{side}; got {tuple(places.shape)} for {tuple(z.shape)}"
        )
    if valid is not None:
        check_bool_mask(who, f"valid_{side}", valid, z.shape[:2])


def _real(z: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Put 0 where a token is padding, and return which is not."""
    if valid is None:
        return z, torch.ones(z.shape[:2], dtype=torch.bool, device=z.device)
    return torch.where(valid.unsqueeze(-1), z, 0), valid


def _closest(
    distance: Tensor, real: Tensor, other_real: Tensor, matches: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the tokens nearest to one of the other view, which one, and whether both are real."""
    distance = torch.where(real.unsqueeze(2) & other_real.unsqueeze(1), distance, torch.inf)
    match = distance.argmin(dim=2)  # the first of equal ones, unlike that of min
    nearest = distance.gather(2, match.unsqueeze(2)).squeeze(2)
    order = nearest.argsort(dim=1, stable=True)[:, :matches]
    return order, match.gather(1, order), nearest.gather(1, order) < torch.inf


def _at(z: Tensor, index: Tensor) -> Tensor:
    return z.gather(1, index.unsqueeze(2).expand(-1, -1, z.shape[2]))


def _ragged_terms(a: Tensor, b: Tensor, counted: Tensor, eps: float) -> VICRegTerms:
    """The terms of `vicreg_loss` on `(batch, matches, dim)`, of those that are counted."""
    count = counted.sum(dim=0)
    rest, several = (count - 1).clamp(min=1).unsqueeze(1), count > 1
    counted = counted.unsqueeze(2)
    error = torch.where(counted, a - b, 0).square().mean(dim=2).sum() / count.sum().clamp(min=1)
    variance: list[Tensor] = []
    covariance: list[Tensor] = []
    for z in (a, b):
        mean = torch.where(counted, z, 0).sum(dim=0) / count.clamp(min=1).unsqueeze(1)
        centered = torch.where(counted, z - mean, 0).transpose(0, 1)  # (matches, batch, dim)
        squares = centered.square().sum(dim=1) / rest
        hinge = nn.functional.relu(1 - (squares + eps).sqrt()).mean(dim=1)
        product = centered.mT @ centered / rest.unsqueeze(2)
        apart = product - product.diagonal(dim1=1, dim2=2).diag_embed()
        crossed = apart.square().sum(dim=(1, 2))
        for values, terms in ((hinge, variance), (crossed / z.shape[2], covariance)):
            terms.append(torch.where(several, values, 0).sum() / several.sum().clamp(min=1))
    return VICRegTerms(error, variance[0] + variance[1], covariance[0] + covariance[1])


class VICRegLLoss(nn.Module):
    """`vicregl_loss` with its options bound once; see there for their meaning."""

    def __init__(
        self,
        *,
        matches: int = 20,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        eps: float = 1e-4,
    ) -> None:
        super().__init__()
        self.matches, self.eps = matches, eps
        self.invariance_weight, self.variance_weight = invariance_weight, variance_weight
        self.covariance_weight = covariance_weight

    def forward(
        self,
        z_a: Tensor,
        z_b: Tensor,
        places_a: Tensor,
        places_b: Tensor,
        valid_a: Tensor | None = None,
        valid_b: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of the tokens of two views, `(batch, tokens, dim)` each."""
        return vicregl_loss(
            z_a,
            z_b,
            places_a,
            places_b,
            valid_a,
            valid_b,
            matches=self.matches,
            invariance_weight=self.invariance_weight,
            variance_weight=self.variance_weight,
            covariance_weight=self.covariance_weight,
            eps=self.eps,
        )
