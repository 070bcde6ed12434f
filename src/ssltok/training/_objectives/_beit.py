"""BEiT as an objective: hide places of a series, and say which code each of them has."""

import copy
from functools import partial

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_ratio
from ssltok.losses import masked_token_loss
from ssltok.masking import block_mask
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._hidden import (
    Sampler,
    Target,
    check_draws,
    draw_mask,
    encode,
    masked_tokens,
    places_of,
    target_of,
)
from ssltok.training._objectives._parts import head_width
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import check_views, logged, whole_batch_mean

__all__ = ["BEiT"]

BLOCKS = partial(block_mask, ratio=0.4, least_area=1)


@documented
class BEiT(PlainObjective):
    """Hide places behind the encoder's mask token, and predict the codes of what stood there.

    `masked_token_loss` over the codes that a quantizer gives to the patches of the view. The
    quantizer is copied and stays as it is: a fitted `VectorQuantizer` (BEiT's tokenizer), or a
    `RandomProjectionQuantizer` that nobody fits (BEST-RQ).

    Args:
        encoder: Gives the number of features and of places; see `Objective` for what it must be.
        quantizer: Makes the codes: a module with `encode`, from `(vectors, values)` to int64
            `(vectors,)`, and `codebook_size`.
        sampler: Draws masks, `sampler((cases, frames), generator=generator, device=device)`,
            boolean of that shape, True where hidden: such as a function of `ssltok.masking` with
            its options bound. BEiT hides blocks, 40% in all, here of one place or more.
        target: From series and `valid`, or None, to the vectors that get codes,
            `(batch, frames, values)` or `(batch, rows * frames, values)`. By default the patches
            that cut a series into `frames`, zeros in its padding.
        head: A module of your own, from `(rows, dim)` to `(rows, codebook_size)`, instead of the
            paper's linear layer.
        label_smoothing: In [0, 1]; 0 in the paper.

    Example:
        >>> import torch
        >>> from ssltok.nn import PatchEmbed1d, Transformer, ViT1d
        >>> from ssltok.training import BEiT, ObjectiveBatch
        >>> class Patches(torch.nn.Module):
        ...     dim, frames, rows = 8, 5, 1
        ...     def __init__(self):
        ...         super().__init__()
        ...         embedding, trunk = PatchEmbed1d(2, 8, patch=4), Transformer(8, depth=2, heads=2)
        ...         self.vit = ViT1d(embedding, trunk, class_token=False, mask_token=True)
        ...     def forward(self, series, valid=None, *, masked=None, visible=None):
        ...         return self.vit(series, valid=valid, masked=masked, visible=visible)
        >>> from ssltok.quantizers import RandomProjectionQuantizer
        >>> encoder = Patches()
        >>> objective = BEiT(encoder, quantizer=RandomProjectionQuantizer(2 * 4, 16, code_dim=4))
        >>> draws = objective.draw(6, torch.Generator().manual_seed(0))
        >>> batch = ObjectiveBatch((torch.randn(6, 2, 20),), draws=draws)
        >>> objective(encoder, batch).loss.shape
        torch.Size([])

    References:
        Bao et al., *BEiT*, 2021, <https://arxiv.org/abs/2106.08254>, section 2.
        Chiu et al., *BEST-RQ*, 2022, <https://arxiv.org/abs/2202.01855>, section 3.
    """

    views = 1

    by_token = True

    def __init__(
        self,
        encoder: nn.Module,
        *,
        quantizer: nn.Module,
        sampler: Sampler = BLOCKS,
        target: Target | None = None,
        head: nn.Module | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        dim, self.frames, self.rows = places_of("BEiT", encoder, "masked")
        check_ratio("BEiT", "label_smoothing", label_smoothing)
        codes = getattr(quantizer, "codebook_size", None)
        is_module = isinstance(quantizer, nn.Module)
        if not (is_module and isinstance(codes, int) and hasattr(quantizer, "encode")):
            raise TypeError(
                "BEiT: quantizer must be a module with encode and codebook_size; "
                f"got {type(quantizer).__name__}"
            )
        self.quantizer = copy.deepcopy(quantizer).requires_grad_(False)
        self.head = head_width("BEiT", head, dim, codes)
        self.sampler, self.target, self.label_smoothing = sampler, target, label_smoothing

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw which places are hidden, boolean `(cases, frames)`."""
        return (draw_mask("BEiT", self.sampler, (cases, self.frames), generator),)

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of one view with the draws."""
        batch = batch._replace(features=None)
        check_views("BEiT", batch, self.views)
        check_draws("BEiT", batch, 1)
        (series,), valid, (mask,) = batch.views, batch.valid, batch.draws
        counted, _ = masked_tokens("BEiT", encoder, mask, valid, frames=self.frames, rows=self.rows)
        with torch.no_grad():
            values = target_of(
                "BEiT", series, valid, target=self.target, frames=self.frames, rows=self.rows
            )
            codes = self.quantizer.encode(values.flatten(0, 1))  # type: ignore[operator]
            if codes.shape != (values.shape[0] * values.shape[1],):
                raise ValueError(
                    "BEiT: quantizer must give one code a vector; "
                    f"got codes {tuple(codes.shape)} for {len(values.flatten(0, 1))} vectors"
                )
            codes = codes.view(values.shape[:2])
        tokens = encode("BEiT", encoder, series, valid, tokens=counted.shape[1], masked=mask)
        # All tokens, not those of the mask: how many these are, only the device knows.
        logits = self.head(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        local = masked_token_loss(logits, codes, counted, label_smoothing=self.label_smoothing)
        loss = whole_batch_mean(local, counted.sum())
        return ObjectiveOutput(loss, logged(cross_entropy=loss))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: the quantizer stays as it is."""
