"""What an arm passes to the library in the place of the preset's; wrong ones live here alone."""

from collections.abc import Callable
from functools import partial

import torch
from benchmarks.studies.ssl_tokens.arms import Arm, Parts
from torch import Tensor

from ssltok import pipelines
from ssltok.masking import cosine_schedule, schedule_mask
from ssltok.nn import Projector, TokenTransformer
from ssltok.pipelines import (
    Prior,
    PriorBatch,
    PriorConfig,
    TokenFeatures,
    Tokenizer,
    build_prior,
)
from ssltok.training import NTXent, Stage, keyed_generator

__all__ = ["invert_masks", "library_parts", "study_prior"]

COMPARED = {1: None, 2: (2, 1)}
"""Inputs that the loss compares, by the arm's views: None is the series and its view."""
QUANTIZED = {"config": None, "quantized": (True, True), "continuous": (False, False)}
"""Which of them are code vectors, by the arm's `attach`; None leaves it to the config."""


def library_parts(arm: Arm) -> pipelines.Parts:
    """The library's parts for an arm."""
    parts = arm.parts
    quantized = QUANTIZED[parts.attach]
    return pipelines.Parts(
        objective=_objective(arm),
        compared=COMPARED[parts.views],
        quantized=quantized,
        everywhere=True if parts.paid == "all" else None,
    )


def _objective(arm: Arm) -> Callable[[TokenFeatures], NTXent] | None:
    if arm.parts.ssl_loss == "config":
        return None
    return partial(_nt_xent, arm.config.tokenizer.projector_dim)


def _nt_xent(dim: int, encoder: TokenFeatures) -> NTXent:
    """NT-Xent behind the projector that the other losses have."""
    projector = Projector(encoder.dim, hidden_dim=dim, out_dim=dim)
    return NTXent(encoder, projector=projector, temperature=0.5)


_nt_xent.by_token = False  # type: ignore[attr-defined]


def study_prior(parts: Parts, config: PriorConfig, tokenizer: Tokenizer, *, classes: int) -> Prior:
    """The prior, from the codebooks or from noise, with a head of its own or a tied one.

    A tied head is built after the other one, as it was when the cells were recorded: the library's
    own way, `PriorConfig(tied=True)`, draws other first weights.
    """
    codebooks = [branch.quantizer.codebook.detach() for branch in tokenizer.parts]
    start = codebooks if parts.start == "codebook" else None
    prior = build_prior(config, tokenizer, classes=classes, codebooks=start)
    if not parts.tied:
        return prior
    old = [prior.transformer(number) for number in range(len(prior.sizes))]
    return Prior(
        [
            TokenTransformer(
                part.embedding, part.trunk, tokens=size, classes=classes, label_dropout=0.0,
                tied=True, context=part.context,
            )
            for part, size in zip(old, prior.sizes, strict=True)
        ],
        sizes=prior.sizes,
        classes=classes,
    )  # fmt: skip


def invert_masks(parts: Parts, stage: Stage, prior: Prior, seed: int) -> Stage:
    """Stage 2 with an arm's masks, from a random stream of their own."""
    if parts.mask == "cosine":
        return stage
    draw = stage.draw

    def draw_inverted(step: int, rows: slice) -> PriorBatch:
        batch: PriorBatch = draw(step, rows)
        generator = keyed_generator(seed, "inverted mask", step)
        masks = [
            schedule_mask(
                (len(part), part.shape[1]), schedule=_inverted, valid=part >= 0,
                generator=generator,
            )
            for part in batch.codes.split(list(prior.sizes), dim=1)
        ]  # fmt: skip
        return batch._replace(masks=torch.cat(masks, dim=1))

    return stage._replace(draw=draw_inverted)


def _inverted(progress: Tensor) -> Tensor:
    return 1 - cosine_schedule(progress)
