"""New series from a trained arm, in the library's decoding order or in an ablation's."""

from collections.abc import Callable

import torch
from benchmarks.studies.ssl_tokens.arms import Arm
from benchmarks.studies.ssl_tokens.train import Trained
from torch import Tensor

from ssltok.data import read_series
from ssltok.decoding import (
    DecodingTrace,
    classifier_free_guidance,
    confidence_order,
    fixed_order,
    halton_places,
    iterative_decode,
    random_order,
    temperature_sample,
)
from ssltok.masking import cosine_schedule
from ssltok.pipelines import DecodingConfig, Generated, Prior, generate
from ssltok.training import keyed_generator

__all__ = ["decode_tokens_in_order", "draw_series", "trace_decoding"]

BATCH, TRACED = 256, 8


def draw_series(
    arm: Arm,
    trained: Trained,
    *,
    labels: Tensor,
    lengths: Tensor,
    generator: torch.Generator,
    observe: Callable[..., None] | None = None,
) -> Generated:
    """Draw a series for each label; beyond a series' end stands its last value."""
    tokenizer, prior, decoding = trained.tokenizer, trained.prior, arm.config.decoding
    if arm.parts.order == "confidence":
        made = generate(
            tokenizer, prior, labels=labels, lengths=lengths, decoding=decoding,
            generator=generator, observe=observe,
        )  # fmt: skip
        series, codes = made
    else:
        parts = []
        for some, sizes in zip(labels.split(BATCH), lengths.split(BATCH), strict=True):
            valid = torch.cat([v.flatten(1) for v in tokenizer.token_valid(sizes)], dim=1)
            hidden = torch.full(valid.shape, prior.mask_index).masked_fill(~valid, -1)
            parts.append(
                decode_tokens_in_order(
                    prior, hidden, labels=some, decoding=decoding, generator=generator,
                    order=arm.parts.order, grids=tokenizer.grids, observe=observe,
                )
            )  # fmt: skip
        codes = torch.cat(parts)
        with torch.no_grad():
            series = torch.cat([tokenizer.decode(part) for part in codes.split(BATCH)])
        series = tokenizer.scaler.inverse(series)
        beyond = torch.arange(tokenizer.length) >= lengths[:, None]
        series = series.masked_fill(beyond[:, None], torch.nan)
    return Generated(read_series(series, length=tokenizer.length).values, codes)


def trace_decoding(
    arm: Arm, trained: Trained, *, labels: Tensor, lengths: Tensor, seed: int
) -> dict[str, list[list[int]] | list[float]]:
    """Watch the (low) tokens of a few series being decoded.

    Returns:
        `tokens`: those of the first series after each step, the codebook's size where hidden;
        `confidence`: the mean probability of the tokens kept so far; `hidden`: the share of
        tokens that is still hidden; the last two by step.
    """
    trace = DecodingTrace()
    draw_series(
        arm, trained, labels=labels[:TRACED], lengths=lengths[:TRACED],
        generator=keyed_generator(seed, "study trace"), observe=trace,
    )  # fmt: skip
    kept = trace.tokens != trained.prior.mask_index
    sure = trace.logprob.exp() * kept
    return {
        "tokens": trace.tokens[:, 0].tolist(),
        "confidence": [round(float(s.sum() / k.sum()), 4) for s, k in zip(sure, kept, strict=True)],
        "hidden": [round(float((~k).double().mean()), 4) for k in kept],
    }


@torch.no_grad()
def decode_tokens_in_order(
    prior: Prior,
    tokens: Tensor,
    *,
    labels: Tensor,
    decoding: DecodingConfig,
    generator: torch.Generator,
    order: str,
    grids: tuple[tuple[int, int], ...],
    observe: Callable[..., None] | None = None,
) -> Tensor:
    """`ssltok.pipelines.decode_tokens` with a choice of the order: which tokens are kept first."""
    filled: list[Tensor] = []
    noises = (decoding.order_temperature, decoding.high_order_temperature)
    for number, part in enumerate(tokens.split(list(prior.sizes), dim=1)):
        context = prior.context(filled[0]) if filled else None
        nothing = prior.logits_of(number, torch.full_like(labels, -1), context)
        guided = decoding.guidance != 1 and bool((labels >= 0).any())
        orders = {
            "confidence": confidence_order(temperature=noises[number]),
            "random": random_order(),
            "halton": fixed_order(halton_places(grids[number])),
        }
        filled.append(
            iterative_decode(
                prior.logits_of(number, labels, context), part,
                mask_index=prior.mask_index, steps=decoding.steps, schedule=cosine_schedule,
                order=orders[order],
                sample=temperature_sample(temperature=decoding.temperature),
                guidance=classifier_free_guidance(nothing, scale=decoding.guidance)
                if guided else None,
                observe=observe if number == 0 else None, generator=generator,
            )
        )  # fmt: skip
    return torch.cat(filled, dim=1)
