"""How unusual each sample of a series is, of any length: the prior guesses what it already sees."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssltok._shared.checks import check_number
from ssltok._shared.modes import evaluation_mode
from ssltok.data import SeriesSet, SourceSet
from ssltok.decoding import anomaly_score, odd_widths, score_over_time, smoothed_score
from ssltok.pipelines._fit import encode_series
from ssltok.pipelines._prior import Prior, context_of
from ssltok.pipelines._stage_two._causal_prior import CausalPrior
from ssltok.pipelines._stage_two._conditions import Conditions
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._uses._long import cut_windows
from ssltok.training import keyed_generator

__all__ = [
    "QUANTILE",
    "RATES",
    "STRIDE_RATIO",
    "AnomalyScores",
    "anomaly_scores",
    "check_anomaly_options",
    "scored_cases",
    "threshold_of",
    "usual_scores",
]

LEVELS = 1001  # quantiles of usual scores that a model keeps
RATES, STRIDE_RATIO, QUANTILE = (0.1, 0.3, 0.5), 0.1, 0.99
FEWEST, MOST_ROWS = 8, 4096  # usual series that are scored at least; and rows, about, at most
ROWS = 512  # windows, each with one stretch hidden, that go through the prior in one call


class AnomalyScores(NamedTuple):
    """What `SSLTokenizer.score_anomalies` returns.

    Attributes:
        scores: float32 `(cases, length)`, high where unusual, NaN beyond a series' end.
        threshold: A quantile of the scores of usual series; NaN where none were given.
    """

    scores: NDArray[np.float32]
    threshold: float


def check_anomaly_options(
    who: str, *, rates: Sequence[float], stride_ratio: float, quantile: float
) -> None:
    """Ask for shares in their ranges, before any work."""
    if not len(rates):
        raise ValueError(f"{who}: rates must be at least one; got none")
    for name, value in [*(("rates", rate) for rate in rates), ("stride_ratio", stride_ratio)]:
        check_number(who, name, value)
        if not 0 < value <= 1:
            raise ValueError(f"{who}: {name} must lie in (0, 1]; got {value}")
    check_number(who, "quantile", quantile)
    if not 0 <= quantile <= 1:
        raise ValueError(f"{who}: quantile must lie in [0, 1]; got {quantile}")


def threshold_of(scores: Tensor, quantile: float) -> float:
    """The quantile of all scores that are not NaN."""
    return float(np.nanquantile(scores.double().numpy(), quantile))


def anomaly_scores(
    tokenizer: Tokenizer,
    prior: Prior,
    data: SeriesSet,
    *,
    rates: Sequence[float],
    stride_ratio: float,
    conditions: Conditions | None = None,
) -> Tensor:
    """Score every sample of series of any lengths.

    A series is cut into windows of the model's length, each a share of it behind the one before,
    the last to the end of the series; a shorter series is one padded window. The rows of a grid
    (frequencies, and channels where tokens are channel by channel) and the branches are averaged;
    a branch after the first is scored given all tokens of the one before. Several codes of a token
    add up, each given the coarser ones, the last of which the model sees.

    Args:
        tokenizer: Trained; it is used in evaluation mode.
        prior: Trained on its tokens; likewise, without labels.
        data: Series with the tokenizer's channels.
        rates: Shares of a window's columns that are hidden at once.
        stride_ratio: Share of a window between the starts of two.
        conditions: What a `ConditionedPrior` is told of each series, at the model's scale.

    Returns:
        float32 `(cases, length)`, NaN beyond a series' end.
    """
    room, longest = tokenizer.length, data.values.shape[-1]
    stride = max(1, round(room * stride_ratio))
    starts = [_starts(length, room, stride) for length in data.lengths.tolist()]
    cases = torch.tensor([case for case, each in enumerate(starts) for _ in each])
    firsts = torch.tensor([start for each in starts for start in each])
    result = torch.full((len(starts), longest), torch.nan)
    with torch.no_grad(), evaluation_mode(tokenizer, prior):
        parts = [
            _window_scores(
                tokenizer, prior, cut_windows(data.take(c), s, room), rates,
                None if conditions is None else conditions.take(c).cut(s, room),
            )
            for c, s in zip(cases.split(ROWS), firsts.split(ROWS), strict=True)
        ]  # fmt: skip
    counts = [len(each) for each in starts]
    times = torch.arange(room)  # each has its column, where the branch cuts its band
    held = [
        torch.searchsorted(branch.begins(room), times.float(), right=True) - 1
        for branch in tokenizer.parts
    ]
    branches = [torch.cat(part).split(counts) for part in zip(*parts, strict=True)]
    for case, (each, length) in enumerate(zip(starts, data.lengths.tolist(), strict=True)):
        end = max(length, room)
        rows = [
            score_over_time(part[case][..., columns], each, window=room, length=end)
            for part, columns in zip(branches, held, strict=True)
        ]
        score = torch.cat(rows)[:, :length].mean(dim=0)
        result[case, :length] = smoothed_score(score, width=room)
    return result


def scored_cases(tokenizer: Tokenizer, cases: int) -> int:
    """Of so many series, how many to score: about 4096 rows for the prior, 8 series at least."""
    rows = len(RATES) * sum(int(grid[-1]) for grid in tokenizer.grids)
    return min(cases, max(FEWEST, MOST_ROWS // rows))


def usual_scores(
    tokenizer: Tokenizer,
    prior: Prior,
    data: SeriesSet | SourceSet,
    conditions: Conditions | None,
    *,
    seed: int,
) -> Tensor | None:
    """Quantiles of the scores of some training series, at evenly spaced levels from 0 to 1.

    None of a causal prior, which cannot score.
    """
    if isinstance(prior, CausalPrior):
        return None
    count = scored_cases(tokenizer, data.cases)
    some = torch.randperm(data.cases, generator=keyed_generator(seed, "usual-series"))[:count]
    scores = anomaly_scores(
        tokenizer, prior, data.take(some), rates=RATES, stride_ratio=STRIDE_RATIO,
        conditions=None if conditions is None else conditions.take(some),
    )  # fmt: skip
    levels = np.linspace(0, 1, LEVELS)
    return torch.from_numpy(np.nanquantile(scores.double().numpy(), levels)).float()


def _starts(length: int, room: int, stride: int) -> list[int]:
    """Where windows begin; the last ends with the series, if that is as long as a window."""
    last = max(0, length - room)
    return [*range(0, last, stride), last]


def _window_scores(
    tokenizer: Tokenizer,
    prior: Prior,
    windows: SeriesSet,
    rates: Sequence[float],
    conditions: Conditions | None,
) -> list[Tensor]:
    """Scores of windows, `(windows, rows, frames)` by branch."""
    codes = encode_series(tokenizer, tokenizer.scaled(windows))
    several = codes.ndim == 3
    before: Tensor | None = None
    scores = []
    for number, part in enumerate(codes.split(list(prior.sizes), dim=1)):
        context = context_of(prior, number, before, conditions)
        frames = tokenizer.grids[number][-1]
        levels = part.unbind(-1) if several else (part,)
        total = torch.zeros(())
        for level, tokens in enumerate(levels):
            coarser = part[..., :level] if level else None

            def logits(  # bound now: it is called within this round
                shown: Tensor,
                where: Tensor,
                number: int = number,
                level: int = level,
                context: Tensor | None = context,
                coarser: Tensor | None = coarser,
            ) -> Tensor:
                times = len(shown) // len(codes)
                return prior.logits_of(
                    number,
                    torch.full((len(shown),), -1),
                    None if context is None else torch.cat([context] * times),
                    level=level,
                    coarser=None if coarser is None else torch.cat([coarser] * times),
                )(shown, where)

            total = total + anomaly_score(
                logits,
                tokens,
                mask_index=prior.codebook_sizes[number][level],
                frames=frames,
                widths=odd_widths(rates, frames=frames),
                groups=max(1, ROWS // len(codes)),
            )
        scores.append(total)
        before = part
    return scores
