"""The pictures of a run's report that only a run can draw."""

import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssltok._shared.reasons import draw_or_tell
from ssltok.data import SeriesSet, read_series
from ssltok.evaluation import (
    draw_anomalies,
    draw_curves,
    draw_rate,
    draw_reconstructions,
    draw_trace,
    png,
)
from ssltok.pipelines._auto._plan import Plan, chosen_point
from ssltok.pipelines._estimator import SSLTokenizer
from ssltok.pipelines._uses._anomalies import (
    QUANTILE,
    RATES,
    STRIDE_RATIO,
    anomaly_scores,
    scored_cases,
    threshold_of,
)

__all__ = ["Figures", "figures_of", "write_figures"]

Figures = dict[str, tuple[str, bytes]]


def figures_of(
    estimator: SSLTokenizer, test: Any, trace: Sequence[Tensor], plan: Plan | None
) -> Figures:
    """Draw what only a run has: headings, sentences and pictures."""
    tokenizer = estimator.artifact_.tokenizer
    held = read_series(
        test, length=tokenizer.length, offset=tokenizer.offset, layout="channels_first"
    )
    real = held.in_units().numpy()
    mask_index = tokenizer.codebook_sizes[0][0]
    pictures: dict[str, Callable[[], tuple[str, bytes]]] = {
        "Reconstructions": lambda: (
            "Test series, and what the decoder makes of their tokens.",
            png(draw_reconstructions(real, estimator.reconstruct(test))),
        ),
        "Training": lambda: (
            "Every term of the loss by step.",
            png(draw_curves(estimator.histories_)),
        ),
        "A decoding trace": lambda: (
            "The tokens of one new series: all hidden at first, each step keeps the surest.",
            png(draw_trace(trace, mask_index)),
        ),
        "Unusual test series": lambda: _unusual(estimator, held, real),
    }
    if plan is not None:
        pictures["Rate"] = lambda: _rate(plan, tokenizer.length)
    return {heading: draw_or_tell(draw) for heading, draw in pictures.items()}


def _rate(plan: Plan, length: int) -> tuple[str, bytes]:
    """Draw what tokens of several lengths can say, before anything is trained."""
    tokens, explained = ([getattr(p, key) for p in plan.curve] for key in ("tokens", "explained"))
    chosen = chosen_point(plan, length)
    picture = draw_rate(tokens, explained, chosen=chosen, wanted=plan.explained)
    return f"What tokens can say by k-means of held-out patches: {plan.reasons[0]}.", png(picture)


def _unusual(estimator: SSLTokenizer, held: SeriesSet, real: Any) -> tuple[str, bytes]:
    """Draw the most unusual test series, of as many as the model's threshold is from."""
    artifact = estimator.artifact_
    count = scored_cases(artifact.tokenizer, held.cases)
    some = torch.arange(count) * held.cases // count
    scores = anomaly_scores(
        artifact.tokenizer, artifact.prior, held.take(some), rates=RATES, stride_ratio=STRIDE_RATIO
    )
    whole = np.full((held.cases, scores.shape[1]), -np.inf, dtype=np.float32)
    whole[some] = scores
    threshold = float("nan") if artifact.usual is None else threshold_of(artifact.usual, QUANTILE)
    above = float((scores > threshold).any(dim=1).float().mean())
    sentence = (
        f"How little the prior expects what is there: the series with the highest scores of "
        f"{count} of {held.cases} test series. The threshold lies above {100 * QUANTILE:.0f} % of "
        f"the samples of training series; {100 * above:.0f} % of these have samples above it."
    )
    return sentence, png(draw_anomalies(real, whole, threshold))


def write_figures(folder: pathlib.Path, figures: Figures) -> None:
    """Write each picture as a file of its heading's name."""
    folder.mkdir()
    for heading, (_, image) in figures.items():
        if image:
            name = re.sub(r"\W+", "_", heading.lower())
            (folder / f"{name}.png").write_bytes(image)
