"""VF loss (VA-VAE): latents lie to each other as features of another model do, and near them."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_weights
from ssltok._shared.numerics import full_precision
from ssltok.losses._products_fast import unit_rows
from ssltok.losses._regression_error import mean_over_tokens
from ssltok.losses._token_pairs import check_token_pair, cosines, mean_over_pairs, real_pair

__all__ = ["VFLoss", "VFTerms", "vf_loss", "vf_terms"]


class VFTerms(NamedTuple):
    """The two unweighted terms of `vf_loss`; each is a scalar.

    Attributes:
        distances: How far, beyond the margin, the cosines of pairs of tokens differ, in [0, 2].
        cosines: How far, beyond the margin, a token and its target point apart, in [0, 2].
    """

    distances: Tensor
    cosines: Tensor


def vf_loss(
    projected: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    distance_weight: float = 1.0,
    cosine_weight: float = 1.0,
    distance_margin: float = 0.25,
    cosine_margin: float = 0.5,
) -> Tensor:
    r"""Align a tokenizer's latents with features of a frozen model, up to margins.

    $$\frac{1}{B T^2} \sum_{b,i,j} \bigl[\,\lvert \cos(z_{bi}, z_{bj})
      - \cos(f_{bi}, f_{bj}) \rvert - m_d \bigr]_+
      + \frac{1}{B T} \sum_{b,i} \bigl[\,1 - m_c - \cos(z_{bi}, f_{bi})\bigr]_+$$

    Latents of another width are projected before ($z = W z'$, learned with the tokenizer), as in
    the authors' code, which computes both terms of the projected ones. The target is detached.
    The authors weigh it against the reconstruction by `gradient_ratio` at the encoder's last
    layer, times 0.1.

    Constants: margins of 0.25 and 0.5 are those of the authors' configuration.

    Args:
        projected: $z$, `(..., tokens, dim)`; pairs are of tokens of one series. Of features
            `(batch, dim)`, a vector a series, pairs are of series.
        target: $f$, of the same shape; detached.
        valid: Which tokens are real, `(..., tokens)`, boolean; all if None. Only those count, and
            pairs of those. What stands elsewhere is not read, and may be NaN.
        distance_weight: Weight of the first term.
        cosine_weight: Weight of the second term.
        distance_margin: $m_d \ge 0$, what pairs may differ by.
        cosine_margin: $m_c \ge 0$, what a cosine may lack of 1.

    Returns:
        The loss, a scalar in float32 (float64 for float64 inputs); 0 if no token is real.

    Raises:
        ValueError: If shapes or dtypes do not fit, are empty, or a margin is negative.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import vf_loss
        >>> z = torch.eye(2)[None]
        >>> vf_loss(z, 3 * z), vf_loss(z, -z)  # equal up to length; each one opposite: 1 - 0.5 + 1
        (tensor(0.), tensor(1.5000))

    References:
        Yao et al., *Reconstruction vs. Generation: Taming Optimization Dilemma in Latent Diffusion
        Models*, 2025, <https://arxiv.org/abs/2501.01423>, section 3.2; the form is that of the
        authors' code (LightningDiT).
    """
    check_weights("vf_loss", distance_weight=distance_weight, cosine_weight=cosine_weight)
    terms = _terms("vf_loss", projected, target, valid, distance_margin, cosine_margin)
    return distance_weight * terms.distances + cosine_weight * terms.cosines


def vf_terms(
    projected: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    distance_margin: float = 0.25,
    cosine_margin: float = 0.5,
) -> VFTerms:
    """Compute the terms of `vf_loss` separately, for logging or other weights.

    Args:
        projected: Projected latents, `(..., tokens, dim)`.
        target: Features of the other model, of the same shape; detached.
        valid: Which tokens are real, `(..., tokens)`; all if None.
        distance_margin: What pairs may differ by.
        cosine_margin: What a cosine may lack of 1.

    Returns:
        The unweighted `VFTerms`.

    Raises:
        ValueError: As `vf_loss` does.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import vf_terms
        >>> z = torch.eye(2)[None]
        >>> vf_terms(z, z[:, :1].expand(-1, 2, -1)).distances  # two of four pairs, 1 - 0.25 each
        tensor(0.3750)

    References:
        Yao et al., 2025, <https://arxiv.org/abs/2501.01423>.
    """
    return _terms("vf_terms", projected, target, valid, distance_margin, cosine_margin)


def _terms(
    who: str,
    projected: Tensor,
    target: Tensor,
    valid: Tensor | None,
    distance_margin: float,
    cosine_margin: float,
) -> VFTerms:
    check_token_pair(who, ("projected", "target"), projected, target, valid)
    check_at_least(who, "distance_margin", distance_margin, 0)
    check_at_least(who, "cosine_margin", cosine_margin, 0)
    with full_precision(projected):
        z, f = real_pair(projected, target, valid)
        apart = (1 - cosine_margin - cosines(z, f)).relu()
        z, f = unit_rows(z), unit_rows(f)
        pairs = ((z @ z.mT - f @ f.mT).abs() - distance_margin).relu()
        if valid is None:
            return VFTerms(distances=pairs.mean(), cosines=apart.mean())
        apart = mean_over_tokens(torch.where(valid, apart, 0), valid)
        return VFTerms(distances=mean_over_pairs(pairs, valid), cosines=apart)


class VFLoss(nn.Module):
    """`vf_loss` with its options bound once; see there for their meaning."""

    def __init__(
        self,
        *,
        distance_weight: float = 1.0,
        cosine_weight: float = 1.0,
        distance_margin: float = 0.25,
        cosine_margin: float = 0.5,
    ) -> None:
        super().__init__()
        self.distance_weight, self.cosine_weight = distance_weight, cosine_weight
        self.distance_margin, self.cosine_margin = distance_margin, cosine_margin

    def forward(self, projected: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the loss of projected latents and a target, `(..., tokens, dim)` each."""
        return vf_loss(
            projected, target, valid,
            distance_weight=self.distance_weight, cosine_weight=self.cosine_weight,
            distance_margin=self.distance_margin, cosine_margin=self.cosine_margin,
        )  # fmt: skip
