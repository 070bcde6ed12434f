"""LeJEPA as an objective: views agree with the mean of the global ones, and are Gaussian."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok.distributed import gather
from ssltok.losses import lejepa_terms
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    check_global,
    check_views,
    logged,
    projected,
    same_rows,
)

__all__ = ["LeJEPA"]


class LeJEPA(nn.Module):
    r"""Pull projected views to the mean of the global ones, and each to an isotropic Gaussian.

    `lejepa_loss`, along directions drawn from `ObjectiveBatch.seed`: no teacher, no predictor, one
    knob. It is LeJEPA as its authors have it; `SIGReg` takes the views' distances by pairs and
    directions of each view.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection; 16 by default.
        hidden_dim: Width of the projector's two hidden layers.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        global_views: How many of the views are global, the first ones; all if None.
        gaussian_weight: $\lambda$, in [0, 1]; 0.05 in the paper.
        slices: How many directions are drawn; 1024 in the authors' package, 256 in the paper.
        views: How many views it wants, 2 or more.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

    Example:
        >>> import torch
        >>> from ssltok.training import LeJEPA, ObjectiveBatch
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> view = torch.randn(6, 2, 10)
        >>> objective = LeJEPA(encoder, hidden_dim=32, slices=8).eval()
        >>> objective(encoder, ObjectiveBatch((view, view), seed=3)).logged["invariance"]
        tensor(0.)

    References:
        Balestriero and LeCun, *LeJEPA*, 2025, <https://arxiv.org/abs/2511.08544>, section 5.
    """

    by_token = False

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 16,
        hidden_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        global_views: int | None = None,
        gaussian_weight: float = 0.05,
        slices: int = 1024,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_ratio("LeJEPA", "gaussian_weight", gaussian_weight)
        check_at_least("LeJEPA", "slices", slices, 1)
        check_global("LeJEPA", global_views, views)
        check_at_least("LeJEPA", "views", views, 2)
        self.projector, self.projector_dim = projector_of(
            "LeJEPA", encoder, projector=projector, pool=pool, hidden_dim=hidden_dim,
            out_dim=projector_dim, layers=3,
        )  # fmt: skip
        self.hidden_dim, self.pool, self.views = hidden_dim, pool, views
        self.global_views = global_views
        self.gaussian_weight, self.slices = gaussian_weight, slices

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        check_views("LeJEPA", batch, self.views)
        views = projected("LeJEPA", encoder, batch, head=self.projector, pool=self.pool)
        views = same_rows("LeJEPA", list(map(gather, views)))
        generator = torch.Generator(views[0].device).manual_seed(batch.seed)
        terms = lejepa_terms(
            *views, global_views=self.global_views, slices=self.slices, generator=generator
        )
        weight = self.gaussian_weight
        loss = (1 - weight) * terms.invariance + weight * terms.gaussian
        return ObjectiveOutput(loss, logged(**terms._asdict()))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: nothing lives between steps."""
