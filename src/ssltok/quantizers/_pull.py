"""The loss of VQ-VAE: latents and codes pull each other, each with its own weight."""

import torch
from torch import Tensor

__all__ = ["pull_together_plain"]


def pull_together_plain(
    tokens: Tensor,
    chosen: Tensor,
    real: Tensor | None,
    *,
    commitment_weight: float,
    codebook_weight: float = 0.0,
    codebook: Tensor | None = None,
    codes: Tensor | None = None,
) -> Tensor:
    r"""Return the commitment and codebook terms, weighted, over the real tokens.

    $$\beta\, \overline{\lVert x - \mathrm{sg}(q) \rVert^2}
      + w\, \overline{\lVert \mathrm{sg}(x) - q \rVert^2}$$

    Args:
        tokens: $x$, `(tokens, dim)`.
        chosen: $q$, `(tokens, dim)`; it takes no gradient.
        real: True where a token counts, `(tokens,)`; None: all do.
        commitment_weight: $\beta$.
        codebook_weight: $w$.
        codebook: Where `chosen` comes from, `(codebook_size, dim)`: it gets the gradient of the
            second term. None: nothing does.
        codes: `chosen` is `codebook[codes]`.

    Returns:
        The loss, a scalar; 0 where nothing is real.
    """
    q = chosen.detach() if codebook is None or codes is None else codebook[codes]

    def apart(x: Tensor, q: Tensor) -> Tensor:
        squares = (x - q).square().mean(dim=1)
        if real is None:
            return squares.sum() / max(len(squares), 1)
        return torch.where(real, squares, 0.0).sum() / real.sum().clamp(min=1)

    return commitment_weight * apart(tokens, q.detach()) + codebook_weight * apart(
        tokens.detach(), q
    )
