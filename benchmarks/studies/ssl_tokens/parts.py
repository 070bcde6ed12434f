"""The steps that ablations put in the place of the library's; wrong ones live here alone.

Each function does the library's own thing for the default `Parts`; a test compares them.
"""

from collections.abc import Callable
from functools import partial

import torch
from benchmarks.studies.ssl_tokens.arms import Parts
from torch import Tensor, nn

from ssltok.losses import masked_token_loss, nt_xent_loss
from ssltok.masking import cosine_schedule, schedule_mask
from ssltok.nn import TokenTransformer, average_max_pool
from ssltok.pipelines import (
    Prior,
    PriorBatch,
    PriorConfig,
    PriorOutput,
    Tokenizer,
    TokenizerBatch,
    TokenizerOutput,
    TokenizerTerms,
    tokenizer_step,
)
from ssltok.pipelines._stages import AUGMENTATIONS, TokenizerModel
from ssltok.pipelines._tokenizer_step import _agreement, _errors, _used
from ssltok.training import keyed_generator
from ssltok.training._engine import Stage

__all__ = [
    "StudyTokenizerModel",
    "build_prior",
    "replace_prior_step",
    "replace_view",
    "study_step",
]

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "nt_xent": partial(nt_xent_loss, temperature=0.5),
}
Views = tuple[TokenizerBatch, Tensor]


class StudyTokenizerModel(TokenizerModel):
    """Stage 1 with an arm's parts; with the default ones it is the library's."""

    def __init__(self, tokenizer: Tokenizer, parts: Parts, *, batch: int) -> None:
        super().__init__(tokenizer, batch=batch)
        self.parts = parts
        if parts.ssl_loss != "config":
            self.ssl_loss = LOSSES[parts.ssl_loss]

    def forward(self, batch: TokenizerBatch | Views) -> TokenizerOutput:
        """Run the library's step, or the study's."""
        second = None
        if not isinstance(batch, TokenizerBatch):
            batch, second = batch
        if second is None and self.parts.attach == "config":
            return tokenizer_step(
                self.tokenizer, batch, projector=self.projector, ssl_loss=self.ssl_loss
            )
        if self.ssl_loss is None:
            raise ValueError("StudyTokenizerModel: attach and views need an SSL loss; got none")
        return study_step(
            self.tokenizer, batch, projector=self.projector, ssl_loss=self.ssl_loss,
            attach=self.parts.attach, second=second,
        )  # fmt: skip


def study_step(
    tokenizer: Tokenizer,
    batch: TokenizerBatch,
    *,
    projector: nn.Module | None,
    ssl_loss: Callable[[Tensor, Tensor], Tensor],
    attach: str = "config",
    second: Tensor | None = None,
) -> TokenizerOutput:
    """`tokenizer_step` with a choice of what the SSL loss compares.

    Args:
        tokenizer: The parts.
        batch: Series and their view.
        projector: As in `tokenizer_step`.
        ssl_loss: As in `tokenizer_step`.
        attach: Vectors that are compared: `config` (the series quantised, the view as the config
            says), `quantized` (both), `continuous` (neither).
        second: Another view, `(batch, channels, length)`; the loss then compares the two views,
            and the series is only rebuilt.
    """
    config, count = tokenizer.config, len(batch.series)
    inputs = torch.cat([batch.series, batch.view] + ([] if second is None else [second]))
    targets, masks = tokenizer.bands(inputs), tokenizer.token_valid(batch.lengths)
    rebuilt, latents, quantized, pooled = [], [], [], []
    both = attach == "quantized" or (attach == "config" and config.quantize_view)
    for branch, target, valid in zip(tokenizer.parts, targets, masks, strict=True):
        own, other, *more = branch.encoder(target).split(count)
        result = branch.quantizer(own, valid)
        first = more[0] if more else own
        if attach != "continuous":
            first = branch.quantizer(first, valid).vectors if more else result.vectors
        if both:
            other = branch.quantizer(other, valid).vectors
        shown = torch.cat([result.vectors, other]) if config.view_weight else result.vectors
        rebuilt.append(branch.decoder(shown))
        latents.append(own.detach())
        quantized.append(result)
        pooled.append((average_max_pool(first, valid), average_max_pool(other, valid)))
    errors = [
        _errors(tokenizer, [t[rows] for t in targets], [r[rows] for r in rebuilt], batch.valid)
        for rows in (slice(0, count), slice(count, 2 * count))
        if len(rebuilt[0][rows])
    ]
    terms = TokenizerTerms(
        time=errors[0][0],
        spectrogram=errors[0][1],
        quantization=torch.stack([q.loss for q in quantized]).sum(),
        view=errors[1][0] + errors[1][1] if len(errors) == 2 else torch.zeros(()),
        agreement=_agreement(projector, pooled, ssl_loss),
    )
    loss = terms.time + terms.spectrogram + terms.quantization
    loss = loss + config.view_weight * terms.view + config.ssl_weight * terms.agreement
    codes = tuple(q.codes for q in quantized)
    logged = {"loss": loss, **terms._asdict(), "codes used": _used(codes, config.codebook_size)}
    return TokenizerOutput(loss, logged, terms, tuple(latents), codes)


def replace_view(parts: Parts, stage: Stage, tokenizer: Tokenizer, seed: int) -> Stage:
    """Draw a second view, if the arm has two."""
    if parts.views == 1:
        return stage
    draw, augment = stage.draw, AUGMENTATIONS[tokenizer.config.augmentation]

    def draw_two(step: int, rows: slice) -> Views:
        batch = draw(step, rows)
        within = torch.arange(batch.series.shape[-1]) < batch.lengths[:, None]
        generator = keyed_generator(seed, "second view", step)
        return batch, augment(batch.series, valid=within, generator=generator)

    return stage._replace(draw=draw_two)


def build_prior(parts: Parts, config: PriorConfig, tokenizer: Tokenizer, *, classes: int) -> Prior:
    """The prior, from the codebooks or from noise, with a head of its own or a tied one."""
    codebooks = [branch.quantizer.codebook.detach() for branch in tokenizer.parts]
    start = codebooks if parts.start == "codebook" else None
    prior = Prior(config, tokenizer, classes=classes, codebooks=start)
    if parts.tied:
        for number, size in enumerate(prior.sizes):
            old = prior.transformer(number)
            prior.transformers[number] = TokenTransformer(
                old.embedding, old.trunk, tokens=size, classes=classes, label_dropout=0.0,
                tied=True, context=old.context,
            )  # fmt: skip
    return prior


class _PriorModel(nn.Module):
    """Stage 2 with the loss on all tokens, visible or not, as in several public codes."""

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, batch: PriorBatch) -> PriorOutput:
        """Cross-entropy of every real token; what the model reads is masked as ever."""
        prior, sizes = self.prior, list(self.prior.sizes)
        codes, masks = (part.split(sizes, dim=1) for part in (batch.codes, batch.masks))
        losses = []
        for number in range(len(sizes)):
            context = prior.context(codes[0]) if number else None
            hidden = codes[number].masked_fill(masks[number], prior.mask_index)
            everywhere = codes[number] >= 0
            logits = prior.logits_of(number, batch.labels, context)(hidden, everywhere)
            smoothing = prior.config.label_smoothing
            losses.append(
                masked_token_loss(logits, codes[number], everywhere, label_smoothing=smoothing)
            )
        loss = torch.stack(losses).sum()
        return PriorOutput(loss, {"loss": loss})


def replace_prior_step(parts: Parts, stage: Stage, prior: Prior, seed: int) -> Stage:
    """Stage 2 with an arm's masks and an arm's loss."""
    if parts.paid == "all":
        stage = stage._replace(model=_PriorModel(prior))
    if parts.mask == "cosine":
        return stage
    draw = stage.draw

    def draw_inverted(step: int, rows: slice) -> PriorBatch:
        batch: PriorBatch = draw(step, rows)
        generator = keyed_generator(seed, "inverted mask", step)
        masks = [
            schedule_mask(
                (len(part), part.shape[1]), schedule=lambda r: 1 - cosine_schedule(r),
                valid=part >= 0, generator=generator,
            )
            for part in batch.codes.split(list(prior.sizes), dim=1)
        ]  # fmt: skip
        return batch._replace(masks=torch.cat(masks, dim=1))

    return stage._replace(draw=draw_inverted)
