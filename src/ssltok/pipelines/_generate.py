"""Act 3. From nothing but masks, guess by guess, to tokens and to series."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.modes import evaluation_mode
from ssltok.decoding import (
    classifier_free_guidance,
    confidence_order,
    iterative_decode,
    temperature_sample,
)
from ssltok.masking import cosine_schedule
from ssltok.pipelines._config import DecodingConfig
from ssltok.pipelines._prior import Prior
from ssltok.pipelines._tokenizer import Tokenizer

__all__ = ["Generated", "decode_tokens", "generate"]

BATCH = 256


class Generated(NamedTuple):
    """New series in original units, `(cases, channels, length)`, and their tokens.

    Beyond a series' length, `series` is NaN and `codes` -1.
    """

    series: Tensor
    codes: Tensor


@torch.no_grad()
def generate(
    tokenizer: Tokenizer,
    prior: Prior,
    *,
    labels: Tensor,
    lengths: Tensor,
    decoding: DecodingConfig,
    generator: torch.Generator,
    observe: Callable[..., None] | None = None,
) -> Generated:
    """Draw new series: low tokens first, then high tokens that read them, then the decoder.

    Args:
        tokenizer: Trained; it is used in evaluation mode and left as it was.
        prior: Trained on the tokenizer's tokens; likewise.
        labels: int64 `(cases,)`, -1 for no label.
        lengths: int64 `(cases,)`, samples of each new series.
        decoding: Steps, temperatures, guidance.
        generator: The only source of randomness.
        observe: Called with each decoding step of the first branch.

    Returns:
        The series and their tokens.

    Raises:
        ValueError: If there is nothing to draw, or a label or a length is out of range.
    """
    if not len(labels) or len(labels) != len(lengths):
        raise ValueError(
            f"generate: labels and lengths must be equally many, and some; "
            f"got {len(labels)} and {len(lengths)}"
        )
    if int(labels.max()) >= prior.classes or int(labels.min()) < -1:
        raise ValueError(
            f"generate: labels must lie in [-1, {prior.classes}); "
            f"got {int(labels.min())} to {int(labels.max())}"
        )
    if int(lengths.min()) < 1 or int(lengths.max()) > tokenizer.length:
        raise ValueError(
            f"generate: lengths must lie in [1, {tokenizer.length}]; "
            f"got {int(lengths.min())} to {int(lengths.max())}"
        )
    parts = []
    with evaluation_mode(tokenizer, prior):
        for some, sizes in zip(
            torch.split(labels, BATCH), torch.split(lengths, BATCH), strict=True
        ):
            valid = torch.cat([v.flatten(1) for v in tokenizer.token_valid(sizes)], dim=1)
            hidden = torch.full(valid.shape, prior.mask_index).masked_fill(~valid, -1)
            codes = decode_tokens(
                prior, hidden, labels=some, decoding=decoding, generator=generator, observe=observe
            )
            series = tokenizer.scaler.inverse(tokenizer.decode(codes))
            times = torch.arange(tokenizer.length)
            series = series.masked_fill((times >= sizes[:, None])[:, None], torch.nan)
            parts.append(Generated(series, codes))
    return Generated(torch.cat([p.series for p in parts]), torch.cat([p.codes for p in parts]))


@torch.no_grad()
def decode_tokens(
    prior: Prior,
    tokens: Tensor,
    *,
    labels: Tensor,
    decoding: DecodingConfig,
    generator: torch.Generator,
    observe: Callable[..., None] | None = None,
) -> Tensor:
    """Fill the hidden tokens of `(batch, tokens)`, branch by branch; known ones never change.

    Args:
        prior: The model.
        tokens: int64, `prior.mask_index` where hidden, -1 at padding; low branch first.
        labels: int64 `(batch,)`, -1 for no label.
        decoding: Steps, temperatures, guidance.
        generator: The only source of randomness.
        observe: Called with each step of the first branch.

    Returns:
        The tokens, with nothing hidden.
    """
    filled: list[Tensor] = []
    noises = (decoding.order_temperature, decoding.high_order_temperature)
    nothing = torch.full_like(labels, -1)
    for number, part in enumerate(torch.split(tokens, list(prior.sizes), dim=1)):
        context = prior.context(filled[0]) if filled else None
        guidance = None
        if decoding.guidance != 1 and bool((labels >= 0).any()):
            guidance = classifier_free_guidance(
                prior.logits_of(number, nothing, context), scale=decoding.guidance
            )
        filled.append(
            iterative_decode(
                prior.logits_of(number, labels, context),
                part,
                mask_index=prior.mask_index,
                steps=decoding.steps,
                schedule=cosine_schedule,
                order=confidence_order(temperature=noises[number]),
                sample=temperature_sample(temperature=decoding.temperature),
                guidance=guidance,
                observe=observe if number == 0 else None,
                generator=generator,
            )
        )
    return torch.cat(filled, dim=1)
