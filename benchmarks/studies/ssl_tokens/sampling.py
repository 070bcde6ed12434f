"""New series from a trained arm, in the library's decoding order or in an ablation's."""

from collections.abc import Callable

import torch
from benchmarks.studies.ssl_tokens.arms import Arm
from benchmarks.studies.ssl_tokens.train import Trained
from torch import Tensor

from ssltok.data import read_series
from ssltok.decoding import DecodingTrace
from ssltok.pipelines import Generated, build_decoding, generate
from ssltok.training import keyed_generator

__all__ = ["draw_series", "trace_decoding"]

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
    decoding = build_decoding(arm.config.decoding, tokenizer, parts=arm.parts)
    series, codes = generate(
        tokenizer, trained.prior, labels=labels, lengths=lengths, decoding=decoding,
        generator=generator, observe=observe,
    )  # fmt: skip
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
