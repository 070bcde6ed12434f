"""Alignment as an objective: tokens lie as those of a frozen encoder do."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_floating
from ssltok.distributed import gather
from ssltok.losses import vf_loss
from ssltok.state import EMATeacher
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._next import Embed
from ssltok.training._objectives._parts import feature_dim
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    check_views,
    features_of,
    logged,
    token_valid,
)

__all__ = ["Alignment"]

AlignmentLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From projections, the teacher's features and which tokens are real, or None, to a scalar."""


@documented
class Alignment(PlainObjective):
    """Take over what a frozen encoder knows: foundation features, ROCKET's, an earlier checkpoint.

    A loss of alignment between the encoder's projected tokens and the teacher's: `vf_loss`
    (VA-VAE), or `repa_loss`, `gram_anchoring_loss`, `cka_loss`, `d_axis_distillation_loss`. Both
    see the same view. A teacher that is a module is copied, frozen and stays in evaluation mode.

    Args:
        teacher: Called as an encoder is, `teacher(series)`, and `teacher(series, valid=valid)`
            where there is padding: a module or a function. It returns a feature for each of the
            encoder's tokens, `(batch, tokens, teacher_dim)`, or, for an encoder of a vector a
            series or with a `pool`, `(batch, teacher_dim)`.
        teacher_dim: Width of the teacher's features; its attribute `dim` by default. It sizes the
            projector, and is not asked where one is given.
        loss: Of the projections, the teacher's features and which tokens are real, or None; a
            function of `ssltok.losses` or one of your own.
        projector: A module of your own, from `(rows, dim)` to `(rows, width)`, instead of VA-VAE's
            linear layer: such as REPA's MLP, or `nn.Identity()` where the loss compares
            similarities alone (`gram_anchoring_loss`, `cka_loss`).
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series, for a teacher that has one.
        embed: From encoder, series and `valid`, or None, to what is aligned, instead of the
            encoder's features: such as the output of a quantizer's first level (SpeechTokenizer).

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If a batch does not fit, or the teacher has other tokens than the encoder.

    Example:
        >>> import torch
        >>> from ssltok.losses import gram_anchoring_loss
        >>> from ssltok.nn import PatchEmbed1d
        >>> from ssltok.training import Alignment, ObjectiveBatch
        >>> encoder, teacher = PatchEmbed1d(2, 8, patch=4), PatchEmbed1d(2, 6, patch=4)
        >>> encoder.dim = 8
        >>> objective = Alignment(encoder, teacher=teacher, teacher_dim=6)
        >>> batch = ObjectiveBatch((torch.randn(3, 2, 20),))
        >>> objective(encoder, batch).loss.shape
        torch.Size([])
        >>> anchored = Alignment(
        ...     encoder, teacher=encoder, loss=gram_anchoring_loss, projector=torch.nn.Identity()
        ... )
        >>> anchored(encoder, batch).loss  # nothing has moved yet
        tensor(0., grad_fn=<MeanBackward0>)

    References:
        Yao et al., *VA-VAE*, 2025, <https://arxiv.org/abs/2501.01423>, section 3.2.
        Siméoni et al., *DINOv3*, 2025, <https://arxiv.org/abs/2508.10104>, section 4.
    """

    views = 1

    by_token = True

    def __init__(
        self,
        encoder: nn.Module,
        *,
        teacher: Callable[..., Tensor],
        teacher_dim: int | None = None,
        loss: AlignmentLoss = vf_loss,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        embed: Embed | None = None,
    ) -> None:
        super().__init__()
        dim = feature_dim("Alignment", encoder, pool)
        for name, part in (("teacher", teacher), ("loss", loss), ("embed", embed or len)):
            if not callable(part):
                raise TypeError(f"Alignment: {name} must be callable; got {type(part).__name__}")
        if projector is None:
            projector = nn.Linear(dim, _width(teacher, teacher_dim))
        if not isinstance(projector, nn.Module):
            raise TypeError(
                f"Alignment: projector must be a module; got {type(projector).__name__}"
            )
        self.projector, self.pool, self.embed = projector, pool, embed
        self.loss, self.teacher_dim = loss, teacher_dim
        self.frozen = EMATeacher(teacher) if isinstance(teacher, nn.Module) else teacher

    @property
    def teacher(self) -> Callable[..., Tensor]:
        """The frozen encoder."""
        return self.frozen.model if isinstance(self.frozen, EMATeacher) else self.frozen

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of one view."""
        check_views("Alignment", batch, self.views, read=True)
        (series,), valid = batch.views, batch.valid
        if self.embed is None:
            (tokens,) = features_of("Alignment", encoder, batch)
        else:
            tokens = self.embed(encoder, series, valid)
            check_floating("Alignment", "what embed returns", tokens)
        real = None
        if valid is not None and tokens.ndim > 2:
            real = token_valid("Alignment", encoder, valid)
        if self.pool is not None:
            tokens, real = self.pool(tokens, real), None
        if real is not None:  # what stands in padding reaches no weight
            tokens = torch.where(real.unsqueeze(-1), tokens, 0)
        with torch.no_grad():
            target = self.frozen(series) if valid is None else self.frozen(series, valid=valid)
        check_floating("Alignment", "the teacher's features", target)
        if target.shape[:-1] != tokens.shape[:-1]:
            raise ValueError(
                "Alignment: teacher must have a feature for each of the encoder's tokens, "
                f"{tuple(tokens.shape[:-1])}; got {tuple(target.shape)}"
            )
        projected = self.projector(tokens.flatten(0, -2)).unflatten(0, tokens.shape[:-1])
        whole = None if real is None else gather(real)
        loss = self.loss(gather(projected), gather(target), whole)
        return ObjectiveOutput(loss, logged(alignment=loss))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: the teacher is frozen."""


def _width(teacher: Callable[..., Tensor], teacher_dim: int | None) -> int:
    """Return how many features the teacher has, by the option or by its `dim`."""
    width = getattr(teacher, "dim", None) if teacher_dim is None else teacher_dim
    if isinstance(width, bool) or not isinstance(width, int):
        raise TypeError(
            "Alignment: teacher_dim must be an integer, where the teacher has no integer dim and "
            f"no projector is given; got {width!r}"
        )
    check_at_least("Alignment", "teacher_dim", width, 1)
    return width
