"""The predictor of a joint-embedding architecture: what would the encoder say over there?"""

import torch
from torch import Generator, Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_size
from ssltok.nn._places import check_places, unless_all
from ssltok.nn._sinusoidal import positions_like
from ssltok.nn._transformer import Transformer, check_trunk

__all__ = ["JEPAPredictor"]


class JEPAPredictor(nn.Module):
    """Predict the latents of tokens that the encoder has not seen, from those that it has.

    Context latents are mapped to the width of the trunk; for each target stands one learned
    token. Both get the position of their place, the trunk mixes them, and a linear map brings the
    targets' tokens back to the width of the encoder. Make the trunk narrow: I-JEPA's has 384
    features beside an encoder of 1280, so that it cannot do the encoder's work.

    A target block reads the context and itself, not the other blocks. For several blocks, fold
    them into the batch: `context.repeat_interleave(blocks, dim=0)`.

    Args:
        dim: Features of the latents, in and out.
        trunk: The transformer, without adaptive norms.
        positions: Whether sinusoidal positions are added; False leaves them to a rotary trunk.

    Raises:
        ValueError: If the parts do not fit, or a tensor has the wrong shape or dtype.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import JEPAPredictor, Transformer
        >>> predictor = JEPAPredictor(64, Transformer(16, depth=2, heads=2))
        >>> context = torch.randn(5, 3, 64)
        >>> here, there = torch.tensor([[0, 1, 6]] * 5), torch.tensor([[3, 4]] * 5)
        >>> predictor(context, here, there).shape
        torch.Size([5, 2, 64])

    References:
        Assran et al., *I-JEPA*, 2023, <https://arxiv.org/abs/2301.08243>, section 3.
    """

    def __init__(self, dim: int, trunk: Transformer, *, positions: bool = True) -> None:
        super().__init__()
        check_at_least("JEPAPredictor", "dim", dim, 1)
        check_trunk("JEPAPredictor", trunk, positions=positions)
        self.dim, self.trunk, self.positions = dim, trunk, positions
        self.inward = nn.Linear(dim, trunk.dim)
        self.target_token = nn.Parameter(torch.empty(trunk.dim).normal_(std=0.02))
        self.outward = nn.Linear(trunk.dim, dim)

    def forward(
        self,
        context: Tensor,
        context_places: Tensor,
        target_places: Tensor,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Predict the latents at `target_places`, `(batch, targets, dim)`.

        Args:
            context: `(batch, visible, dim)`, the latents that the encoder made.
            context_places: int64 `(batch, visible)`, their places, -1 for none: not read.
            target_places: int64 `(batch, targets)`, -1 for none: its prediction means nothing.
            generator: Source of dropout and stochastic depth in training; None is torch's own.
        """
        check_axes("JEPAPredictor", "context", context, "batch tokens dim")
        check_size("JEPAPredictor", "context", context, 2, self.dim)
        check_at_least("JEPAPredictor", "batch", context.shape[0], 1)
        check_places("JEPAPredictor", "context_places", context_places, len(context))
        check_places("JEPAPredictor", "target_places", target_places, len(context))
        check_size("JEPAPredictor", "context_places", context_places, 1, context.shape[1])
        places = torch.cat([context_places, target_places], dim=1)
        valid = places >= 0
        unread = ~valid[:, : context.shape[1], None]
        seen = self.inward(context.masked_fill(unread, 0))  # NaN must not reach a product
        asked = self.target_token.to(seen.dtype).expand(*target_places.shape, -1)
        x = torch.cat([seen, asked], dim=1)
        if self.positions:
            x = x + positions_like(places, self.inward.weight)
        turned = None if self.trunk.rotary is None else places
        mixed = self.trunk(x, valid=unless_all(valid), places=turned, generator=generator)
        out: Tensor = self.outward(mixed[:, context.shape[1] :])
        return out
