"""SIGReg (LeJEPA): embeddings should be an isotropic Gaussian, seen from every direction."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_positive
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._directions import directions_for
from ssltok.losses._slice_errors_fast import slice_errors

__all__ = ["SIGRegLoss", "sigreg_loss"]


def sigreg_loss(
    z: Tensor,
    *,
    slices: int = 1024,
    points: int = 17,
    limit: float = 3.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Compare the embeddings' characteristic function with a Gaussian's, along random lines.

    $$\frac{B}{S} \sum_s \int_{-T}^{T}
      \Bigl| \frac{1}{B} \sum_b e^{i t\, u_s \cdot z_b} - e^{-t^2 / 2} \Bigr|^2
      e^{-t^2 / 2}\, dt$$

    with $S$ random unit directions $u_s$, drawn anew in each call: the Epps-Pulley statistic of
    normality, averaged. The integral is the trapezoidal rule on `points` values of $t$ in
    $[0, T]$, doubled. The statistic grows with `batch`; a Gaussian batch leaves a floor near
    $\int (1 - e^{-t^2}) e^{-t^2 / 2} dt$ (1.06 for the defaults).

    LeJEPA whole, with what makes the views agree, is `lejepa_loss`.

    Constants: the defaults are those of the authors' package; the paper's listing integrates
    over 17 points of $[-5, 5]$, that is `limit=5.0, points=9`, with 256 slices.

    Over several processes, give it `gather(z)` and generators of one seed, so that all look
    along the same directions.

    Args:
        z: Embeddings, `(batch, dim)`, not normalised: their scale is what is judged.
        slices: $S$, the number of directions.
        points: Number of nodes in $[0, T]$, at least 2.
        limit: $T > 0$, the end of the integral.
        generator: The source of the directions, on the device of `z`; torch's own by default.

    Returns:
        The loss, a scalar in float32 (float64 for float64 rows).

    Raises:
        ValueError: If `z` is not `(batch, dim)` in floating point or is empty, `slices < 1`,
            `points < 2`, or `limit <= 0`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import sigreg_loss
        >>> z = torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
        >>> g = torch.Generator().manual_seed(1)
        >>> bool(sigreg_loss(z, generator=g) < 2 < sigreg_loss(2 * z, generator=g))
        True

    References:
        Balestriero and LeCun, *LeJEPA*, 2025, <https://arxiv.org/abs/2511.08544>, section 4.
        Epps and Pulley, *A test for normality based on the empirical characteristic function*,
        1983, Biometrika 70(3).
    """
    check_floating("sigreg_loss", "z", z)
    check_axes("sigreg_loss", "z", z, "batch dim")
    check_at_least("sigreg_loss", "batch", z.shape[0], 1)
    check_at_least("sigreg_loss", "slices", slices, 1)
    check_at_least("sigreg_loss", "points", points, 2)
    check_positive("sigreg_loss", "limit", limit)
    with full_precision(z):
        x = upcast(z)
        projected = x @ directions_for(x, slices, generator)
        return slice_errors(projected, points=points, limit=limit).mean()


class SIGRegLoss(nn.Module):
    """`sigreg_loss` with its options bound once; see there for their meaning."""

    def __init__(self, *, slices: int = 1024, points: int = 17, limit: float = 3.0) -> None:
        super().__init__()
        self.slices = slices
        self.points = points
        self.limit = limit

    def forward(self, z: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of embeddings, `(batch, dim)`."""
        return sigreg_loss(
            z, slices=self.slices, points=self.points, limit=self.limit, generator=generator
        )
