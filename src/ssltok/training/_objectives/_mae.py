"""MAE as an objective: encode the visible places only, and fill in the hidden ones."""

import torch
from torch import Tensor, nn

from ssltok.losses import masked_reconstruction_loss
from ssltok.masking import random_mask
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._hidden import (
    Target,
    check_draws,
    check_share,
    encode,
    masked_tokens,
    places_of,
    restore_rows,
    samples_of,
    target_of,
)
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import check_views, logged, whole_batch_mean

__all__ = ["MAE"]


@documented
class MAE(PlainObjective):
    """Hide most places of a series, encode the others, and let a decoder fill in the rest.

    `masked_reconstruction_loss` of what the decoder predicts for the hidden places. The share is
    that of all places; padding is neither read nor predicted.

    Args:
        encoder: Gives the number of features and of places; see `Objective` for what it must be.
        decoder: Predicts every token: `decoder(encoded, restore)`, such as `MAEDecoder`, from
            `(batch, visible tokens, dim)` and the slot of each token among them, their number
            for a hidden one, to `(batch, tokens, values)`. For padded series it takes
            `valid=` as well, `(batch, tokens)`.
        mask_ratio: Share of the places that is hidden, above 0, of which one at least is seen;
            0.75 in the paper.
        target: From series and `valid`, or None, to what is predicted, `(batch, frames, values)`
            or `(batch, rows * frames, values)`. By default the patches that cut a series into
            `frames`; samples that are padding, or beyond the end, have no error.
        normalize_target: Whether each target patch gets mean 0 and variance 1 of its own first,
            as in the paper's best runs.

    Example:
        >>> import torch
        >>> from ssltok.nn import MAEDecoder, PatchEmbed1d, Transformer, ViT1d
        >>> from ssltok.training import MAE, ObjectiveBatch
        >>> class Patches(torch.nn.Module):
        ...     dim, frames, rows = 8, 5, 1
        ...     def __init__(self):
        ...         super().__init__()
        ...         embedding, trunk = PatchEmbed1d(2, 8, patch=4), Transformer(8, depth=2, heads=2)
        ...         self.vit = ViT1d(embedding, trunk, class_token=False, mask_token=True)
        ...     def forward(self, series, valid=None, *, masked=None, visible=None):
        ...         return self.vit(series, valid=valid, masked=masked, visible=visible)
        >>> encoder = Patches()
        >>> objective = MAE(encoder, decoder=MAEDecoder(8, 2 * 4, Transformer(8, depth=1, heads=2)))
        >>> draws = objective.draw(6, torch.Generator().manual_seed(0))
        >>> batch = ObjectiveBatch((torch.randn(6, 2, 20),), draws=draws)
        >>> objective(encoder, batch).loss.shape
        torch.Size([])

    References:
        He et al., *Masked autoencoders*, 2021, <https://arxiv.org/abs/2111.06377>, section 3.
    """

    views = 1

    by_token = True

    def __init__(
        self,
        encoder: nn.Module,
        *,
        decoder: nn.Module,
        mask_ratio: float = 0.75,
        target: Target | None = None,
        normalize_target: bool = True,
    ) -> None:
        super().__init__()
        _, self.frames, self.rows = places_of("MAE", encoder, "visible")
        check_share("MAE", mask_ratio, self.frames)
        if not isinstance(decoder, nn.Module):
            raise TypeError(f"MAE: decoder must be a module; got {type(decoder).__name__}")
        self.decoder, self.target = decoder, target
        self.mask_ratio, self.normalize_target = mask_ratio, normalize_target

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw what is hidden, the places that are visible, and the way back; see `RandomMask`."""
        shape = (cases, self.frames)
        return tuple(
            random_mask(shape, ratio=self.mask_ratio, generator=generator, device=generator.device)
        )

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of one view with the draws."""
        batch = batch._replace(features=None)
        check_views("MAE", batch, self.views)
        check_draws("MAE", batch, 3)
        (series,), valid, (mask, visible, restore) = batch.views, batch.valid, batch.draws
        counted, real = masked_tokens(
            "MAE", encoder, mask, valid, frames=self.frames, rows=self.rows
        )
        slots = visible.shape[1]
        encoded = encode("MAE", encoder, series, valid, tokens=self.rows * slots, visible=visible)
        restore = restore_rows(restore, slots=slots, rows=self.rows)
        pred = self.decoder(encoded, restore, **({} if real is None else {"valid": real}))
        target = target_of(
            "MAE", series, valid, target=self.target, frames=self.frames, rows=self.rows
        )
        samples = None
        if self.target is None:
            samples = samples_of(series, valid, frames=self.frames, rows=self.rows)
        if samples is not None:
            counted = counted & samples.any(dim=2)
        local = masked_reconstruction_loss(
            pred, target, counted, samples, normalize_target=self.normalize_target
        )
        loss = whole_batch_mean(local, counted.sum())
        return ObjectiveOutput(loss, logged(reconstruction=loss))
