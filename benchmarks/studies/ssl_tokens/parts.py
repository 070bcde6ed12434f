"""The parts that ablations pass in the place of the library's; wrong ones live here alone."""

import torch
from benchmarks.studies.ssl_tokens.joined import JoinedCodes
from torch import Tensor, nn

from ssltok.decoding import Order, fixed_order, halton_places
from ssltok.masking import cosine_schedule, schedule_mask
from ssltok.nn import Projector, TokenTransformer
from ssltok.pipelines import Branch, Prior, Tokenizer, TokenizerConfig
from ssltok.quantizers import FSQ, ProjectedQuantizer
from ssltok.training import NTXent

__all__ = [
    "contrast",
    "halton_order",
    "inverted_mask",
    "joined_codes",
    "projected_fsq",
    "with_quantizers",
    "with_tied_heads",
]

LEVELS = {32: (8, 4), 64: (4, 4, 4), 128: (8, 4, 4), 256: (4, 4, 4, 4)}


def contrast(encoder: nn.Module, *, projector_dim: int) -> NTXent:
    """NT-Xent behind the projector of the other losses: three layers of one width."""
    features: int = encoder.dim  # type: ignore[assignment]
    projector = Projector(features, hidden_dim=projector_dim, out_dim=projector_dim)
    return NTXent(encoder, projector=projector, temperature=0.5)


def inverted_mask(shape: tuple[int, int], *, valid: Tensor, generator: torch.Generator) -> Tensor:
    """Training masks that hide what should be seen, as in several public codes."""
    return schedule_mask(
        shape, schedule=lambda r: 1 - cosine_schedule(r), valid=valid, generator=generator
    )


def halton_order(grid: tuple[int, ...]) -> Order:
    """Tokens spread over the grid, whatever they are."""
    return fixed_order(halton_places(grid))


def projected_fsq(config: TokenizerConfig) -> nn.Module:
    """A fixed grid of the config's number of codes, between two projections."""
    if config.codebook_size not in LEVELS:
        raise ValueError(
            f"projected_fsq: fsq needs one of {sorted(LEVELS)} codes; got {config.codebook_size}"
        )
    return ProjectedQuantizer(FSQ(LEVELS[config.codebook_size]), config.dim, channel_dim=1)


def joined_codes(config: TokenizerConfig) -> nn.Module:
    """Sums of two codes, a pair of which is one code."""
    return JoinedCodes(
        config.dim, config.codebook_size, decay=config.decay,
        commitment_weight=config.commitment_weight,
    )  # fmt: skip


def with_quantizers(tokenizer: Tokenizer, quantizers: list[nn.Module]) -> Tokenizer:
    """The tokenizer with other quantizers in its branches."""
    branches = [
        Branch(branch.encoder, quantizer, branch.decoder)
        for branch, quantizer in zip(tokenizer.parts, quantizers, strict=True)
    ]
    return Tokenizer(tokenizer.transform, branches, tokenizer.scaler, channels=tokenizer.channels)


def with_tied_heads(prior: Prior) -> Prior:
    """The prior with new heads whose last weights are the embedding's own.

    `PriorConfig.tied` builds the same, from other random numbers than the recorded cells.
    """
    parts = [prior.transformer(number) for number in range(len(prior.sizes))]
    tied = [
        TokenTransformer(
            part.embedding, part.trunk, tokens=part.tokens, classes=part.classes,
            label_dropout=part.label_dropout, tied=True, context=part.context,
        )
        for part in parts
    ]  # fmt: skip
    return Prior(tied, sizes=prior.sizes, classes=prior.classes)
