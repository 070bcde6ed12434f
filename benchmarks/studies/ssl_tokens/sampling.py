"""New series from a trained arm, in the library's decoding order or in an ablation's."""

import dataclasses
from collections.abc import Callable

import torch
from benchmarks.studies.ssl_tokens.arms import Arm
from benchmarks.studies.ssl_tokens.train import Trained
from torch import Tensor

from ssltok.data import read_series
from ssltok.decoding import DecodingTrace, fixed_order, halton_places, random_order
from ssltok.pipelines import Decoding, Generated, Tokenizer, build_decoding, generate
from ssltok.training import keyed_generator

__all__ = ["arm_decoding", "draw_series", "trace_decoding"]

TRACED = 8


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
    tokenizer = trained.tokenizer
    generated = generate(
        tokenizer,
        trained.prior,
        labels=labels,
        lengths=lengths,
        decoding=arm_decoding(arm, tokenizer),
        generator=generator,
        observe=observe,
    )
    series = read_series(generated.series, length=tokenizer.length).values
    return Generated(series, generated.codes)


def arm_decoding(arm: Arm, tokenizer: Tokenizer) -> Decoding:
    """The config's rules, with an ablation's order: which tokens stay first."""
    rules = build_decoding(arm.config.decoding, tokenizer)
    if arm.parts.order == "random":
        return dataclasses.replace(rules, orders=(random_order(),) * len(tokenizer.sizes))
    if arm.parts.order == "halton":
        orders = tuple(fixed_order(halton_places(grid)) for grid in tokenizer.grids)
        return dataclasses.replace(rules, orders=orders)
    return rules


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
