"""A loss that lets unused codes drift with the latents, by how near they are."""

import torch
from torch import Tensor

import ssltok.quantizers._tuning as tuning
from ssltok._shared.checks import check_at_least, check_bool_mask, check_positive
from ssltok._shared.numerics import full_precision, upcast
from ssltok._shared.ranks import sum_over_ranks
from ssltok.quantizers._nearest import check_tokens_and_codebook

__all__ = ["codebook_drift_loss"]


def codebook_drift_loss(
    tokens: Tensor,
    codebook: Tensor,
    valid: Tensor | None = None,
    *,
    temperature: float,
    strength: float = 0.01,
) -> Tensor:
    r"""Pull codes to tokens that chose another one, by a kernel of their distance.

    $$\frac{1}{N D} \sum_n \sum_{k \ne k_n} w_{nk} \lVert \mathrm{sg}[x_n] - e_k \rVert^2, \qquad
      w_{nk} = \min\Big(1,\; \lambda K \,
        \frac{\exp(-\lVert x_n - e_k \rVert^2 / \tau)}
             {\sum_j \exp(-\lVert x_n - e_j \rVert^2 / \tau)}\Big)$$

    with $k_n$ the nearest code; $w$ is constant for the gradient. As the `regularizer` of a
    `VectorQuantizer`, whose own loss pulls the nearest code with weight 1, it is NS-VQ: when the
    encoder drifts, codes that nothing selects are carried along and do not die. The authors let
    $\tau$ fall during training (from 1, by a factor of 0.5 an epoch), so that towards the end only
    near codes move; exchange the `partial` at `quantizer.regularizer` to do so.

    Distances are computed in chunks and without a graph. Over several processes the mean is over
    the tokens of all.

    Args:
        tokens: $x$, `(tokens, dim)`, floating point; they get no gradient.
        codebook: $e$, `(codebook_size, dim)`, floating point.
        valid: `(tokens,)`, boolean, True is real; None: all are.
        temperature: $\tau > 0$, in squared units of the tokens.
        strength: $\lambda$; 0.01 as in the authors' code.

    Returns:
        The loss, a scalar; 0 where nothing is real.

    Raises:
        TypeError: If an argument is no tensor.
        ValueError: If shapes or dtypes are others, the codebook is empty, `temperature <= 0` or
            `strength < 0`.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import codebook_drift_loss
        >>> codebook = torch.tensor([[0.0], [2.0]])
        >>> codebook_drift_loss(torch.zeros(1, 1), codebook, temperature=1e9, strength=0.5)
        tensor(2.)

    References:
        Lu et al., *Beyond Stationarity: Rethinking Codebook Collapse in Vector Quantization*,
        2026, <https://arxiv.org/abs/2602.18896>, and the authors' `vq_vae.py` (`mem_flag`). Lu et
        al., *NSVQ: Mitigating Codebook Collapse by Stabilizing Encoder Drift*, 2026,
        <https://arxiv.org/abs/2606.11363>, puts it first in a schedule that freezes the encoder.
    """
    who = "codebook_drift_loss"
    check_tokens_and_codebook(who, tokens, codebook)
    check_positive(who, "temperature", temperature)
    check_at_least(who, "strength", strength, 0)
    real = torch.ones_like(tokens[:, 0], dtype=torch.bool) if valid is None else valid
    check_bool_mask(who, "valid", real, tokens.shape[:1])
    dtype = torch.promote_types(upcast(tokens[:0]).dtype, upcast(codebook[:0]).dtype)
    with full_precision(tokens):
        middle = codebook.detach().to(dtype).mean(dim=0)
        codes = codebook.to(dtype) - middle
        rows = torch.where(real[:, None], tokens.detach().to(dtype) - middle, 0.0)
        mass, sums, total = _pulls(rows, codes.detach(), real, temperature, strength)
        centre = sums / mass.clamp(min=torch.finfo(dtype).tiny)[:, None]
        moving = (mass[:, None] * (codes - centre).square()).sum()  # all of the gradient
        count = sum_over_ranks(real.sum().to(dtype)).clamp(min=1) * codebook.shape[1]
        drift = (moving + (total - moving.detach())) / count
        return sum_over_ranks(drift)


@torch.no_grad()
def _pulls(
    rows: Tensor, codes: Tensor, real: Tensor, temperature: float, strength: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum up the weights of each code, the weighted tokens, and the weighted squared distances."""
    size = codes.shape[0]
    mass, sums, total = rows.new_zeros(size), torch.zeros_like(codes), rows.new_zeros(())
    at_once = rows.shape[0] if torch.compiler.is_compiling() else tuning.ENTROPY_SCORES // size
    squares = codes.square().sum(dim=1)
    step = max(at_once, 1)
    for part, here in zip(rows.split(step), real.split(step), strict=True):
        distance = part.square().sum(dim=1, keepdim=True) + squares - 2 * part @ codes.T
        distance = distance.clamp(min=0)
        weight = (strength * size * (-distance / temperature).softmax(dim=1)).clamp(max=1)
        weight = weight.scatter(1, distance.argmin(dim=1, keepdim=True), 0.0) * here[:, None]
        mass = mass + weight.sum(dim=0)
        sums = sums + weight.T @ part
        total = total + (weight * distance).sum()
    return mass, sums, total
