"""Prototypes: unit directions that features are compared with, learned by gradient."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from ssltok._shared.checks import check_at_least, check_floating
from ssltok._shared.numerics import directed, full_precision, upcast

__all__ = ["Prototypes"]


class Prototypes(nn.Module):
    r"""A layer whose outputs are the cosines of features and prototypes.

    $$s_k = c_k^\top \, \frac{z}{\lVert z \rVert}, \qquad \lVert c_k \rVert = 1$$

    The prototypes are a parameter. A step of the optimizer takes them off the unit sphere, and
    `update()` after it brings them back, as published; the gradient is that of the plain inner
    product. `forward` changes nothing: without `update` the norms drift and the scores are
    no longer cosines.

    SwAV keeps the prototypes fixed in the first steps: set `prototypes.weight.grad = None` before
    the optimizer's step there. Begin with one seed, or load one `state_dict`, on all processes.

    Args:
        dim: The width of a feature.
        prototypes: How many prototypes there are; 3000 in SwAV, 1024 in MSN.
        generator: The source of the first random directions.

    Raises:
        ValueError: If `dim < 1` or `prototypes < 1`.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.state import Prototypes
        >>> layer = Prototypes(2, 1)
        >>> z = 3 * layer.weight.detach()
        >>> bool(torch.isclose(layer(z), torch.tensor(1.0)))
        True

    References:
        Caron et al., *SwAV*, 2020, <https://arxiv.org/abs/2006.09882>, section 3.1, algorithm 1.
    """

    def __init__(
        self, dim: int, prototypes: int, *, generator: torch.Generator | None = None
    ) -> None:
        check_at_least("Prototypes", "dim", dim, 1)
        check_at_least("Prototypes", "prototypes", prototypes, 1)
        super().__init__()
        self.dim, self.prototypes = dim, prototypes
        device = generator.device if generator is not None else None
        first = torch.randn(prototypes, dim, generator=generator, device=device)
        self.weight = nn.Parameter(normalize(first, dim=-1))

    def forward(self, z: Tensor) -> Tensor:
        """Return the scores, `(..., prototypes)`, of features `(..., dim)` of any length.

        They are cosines in float32 at least, also under autocast and of prototypes in half
        precision: losses divide them by a temperature. A feature of 0 scores 0, without gradient.

        Raises:
            ValueError: If `z` is not floating point or its last axis is not `dim`.
            TypeError: If an input is not a tensor.
        """
        check_floating("Prototypes", "z", z)
        if z.ndim == 0 or z.shape[-1] != self.dim:
            raise ValueError(f"Prototypes: z must end in {self.dim} features; got {tuple(z.shape)}")
        wide = torch.promote_types(upcast(z[..., :0]).dtype, self.weight.dtype)
        with full_precision(z):
            rows, length = directed(upcast(z))
            unit = rows / length
            return linear(unit.to(wide), self.weight.to(wide))

    @torch.no_grad()
    def update(self) -> None:
        """Give every prototype the length 1 again."""
        self.weight.copy_(normalize(self.weight, dim=-1))
