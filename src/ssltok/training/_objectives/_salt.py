"""SALT as an objective: from the visible places, predict what a frozen teacher says of the rest."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least
from ssltok.losses import latent_regression_loss
from ssltok.masking import random_mask
from ssltok.state import EMATeacher
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._hidden import (
    check_draws,
    check_share,
    encode,
    masked_tokens,
    places_of,
    restore_rows,
)
from ssltok.training._objectives._parts import encoder_size
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import check_views, logged, whole_batch_mean

__all__ = ["SALT"]


@documented
class SALT(PlainObjective):
    """Predict the latents of a frozen teacher at hidden places, in two stages without a moving one.

    First train a teacher, as the paper with `MAE`; then a student, of any size, which sees the
    visible places only, and whose decoder predicts what the teacher, which sees the whole series,
    makes of the hidden ones: `latent_regression_loss`. The teacher never moves, so that the loss
    says how far training has come, and nothing can collapse.

    Departure: the places are hidden one by one, as `MAE`'s, where the paper hides blocks of a
    video.

    ```python
    first = pretrain(teacher, partial(MAE, decoder=...), x)
    second = pretrain(student, partial(SALT, teacher=first.encoder, decoder=...), x)
    ```

    Args:
        encoder: Gives the number of features and of places; see `Objective` for what it must be.
        teacher: An encoder with the same places, and any number of features; copied, in evaluation
            mode for good, and never trained.
        decoder: Predicts every token: `decoder(encoded, restore)`, such as `MAEDecoder`, from
            `(batch, visible tokens, dim)` and the slot of each token among them, their number
            for a hidden one, to `(batch, tokens, teacher.dim)`. For padded series it takes
            `valid=` as well, `(batch, tokens)`.
        mask_ratio: Share of the places that is hidden, above 0, of which one at least is seen;
            `MAE`'s 0.75 by default.
        beta: Where the error turns from quadratic to linear: 0 is the absolute error, the paper's;
            `None` the squared error.

    Raises:
        TypeError: If the encoder or the teacher lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, the places of both differ, or a batch does not
            fit.

    Example:
        >>> import torch
        >>> from ssltok.nn import MAEDecoder, PatchEmbed1d, Transformer, ViT1d
        >>> from ssltok.training import ObjectiveBatch, SALT
        >>> class Patches(torch.nn.Module):
        ...     dim, frames, rows = 8, 5, 1
        ...     def __init__(self):
        ...         super().__init__()
        ...         embedding, trunk = PatchEmbed1d(2, 8, patch=4), Transformer(8, depth=2, heads=2)
        ...         self.vit = ViT1d(embedding, trunk, class_token=False, mask_token=True)
        ...     def forward(self, series, valid=None, *, masked=None, visible=None):
        ...         return self.vit(series, valid=valid, masked=masked, visible=visible)
        >>> student, teacher = Patches(), Patches()
        >>> decoder = MAEDecoder(8, teacher.dim, Transformer(8, depth=1, heads=2))
        >>> objective = SALT(student, teacher=teacher, decoder=decoder)
        >>> draws = objective.draw(6, torch.Generator().manual_seed(0))
        >>> batch = ObjectiveBatch((torch.randn(6, 2, 20),), draws=draws)
        >>> objective(student, batch).loss.shape
        torch.Size([])

    References:
        Li et al., *Rethinking JEPA: Compute-Efficient Video SSL with Frozen Teachers*, 2025,
        <https://arxiv.org/abs/2509.24317>.
    """

    views = 1

    by_token = True

    def __init__(
        self,
        encoder: nn.Module,
        *,
        teacher: nn.Module,
        decoder: nn.Module,
        mask_ratio: float = 0.75,
        beta: float | None = 0.0,
    ) -> None:
        super().__init__()
        _, self.frames, self.rows = places_of("SALT", encoder, "visible")
        check_share("SALT", mask_ratio, self.frames)
        if beta is not None:
            check_at_least("SALT", "beta", beta, 0)
        for name, part in (("teacher", teacher), ("decoder", decoder)):
            if not isinstance(part, nn.Module):
                raise TypeError(f"SALT: {name} must be a module; got {type(part).__name__}")
        grid = [encoder_size("SALT", teacher, name) for name in ("frames", "rows")]
        if grid != [self.frames, self.rows]:
            raise ValueError(
                f"SALT: teacher must have the encoder's {self.frames} frames and {self.rows} rows; "
                f"got {grid[0]} and {grid[1]}"
            )
        self.frozen = EMATeacher(teacher)
        self.decoder, self.mask_ratio, self.beta = decoder, mask_ratio, beta

    @property
    def teacher(self) -> nn.Module:
        """The frozen copy of the teacher."""
        return self.frozen.model

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw what is hidden, the places that are visible, and the way back; see `RandomMask`."""
        shape = (cases, self.frames)
        return tuple(
            random_mask(shape, ratio=self.mask_ratio, generator=generator, device=generator.device)
        )

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of one view with the draws."""
        batch = batch._replace(features=None)
        check_views("SALT", batch, self.views)
        check_draws("SALT", batch, 3)
        (series,), valid, (mask, visible, restore) = batch.views, batch.valid, batch.draws
        counted, real = masked_tokens(
            "SALT", encoder, mask, valid, frames=self.frames, rows=self.rows
        )
        slots, tokens = visible.shape[1], self.rows * self.frames
        with torch.no_grad():
            target = encode("SALT", self.teacher, series, valid, tokens=tokens)
        encoded = encode("SALT", encoder, series, valid, tokens=self.rows * slots, visible=visible)
        pred = self.decoder(
            encoded, restore_rows(restore, slots=slots, rows=self.rows),
            **({} if real is None else {"valid": real}),
        )  # fmt: skip
        local = latent_regression_loss(pred, target, counted, beta=self.beta)
        loss = whole_batch_mean(local, counted.sum())
        return ObjectiveOutput(loss, logged(distance=loss))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: the teacher is frozen."""
