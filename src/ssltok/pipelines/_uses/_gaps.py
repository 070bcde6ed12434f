"""What tokens leave over of a series with gaps: learned after stage 1, completed in `impute`."""

from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from ssltok.data import SeriesSet, SourceSet
from ssltok.masking import gap_mask
from ssltok.pipelines._large._encode_rows import decode_rows, encode_rows
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.signal import GaussianFill, LineFill, line_fill
from ssltok.training import keyed_generator

__all__ = [
    "RESIDUALS",
    "Residual",
    "check_residual",
    "complete",
    "fit_fill",
    "rehearse_fill",
    "usual_residual",
]

Residual = Literal["mean", "drawn", "none"]
RESIDUALS = get_args(Residual)
MOST = 4096  # series from which the fill learns
ENOUGH, COPIES = 1024, 8  # fewer series come several times, with other gaps
LARGEST = 0.9  # share that is hidden where the tokenizer learned from whole series


def check_residual(who: str, residual: str, fill: torch.nn.Module | None) -> None:
    """Ask for one of the words, and for a fill that can draw where a draw is asked for."""
    if residual not in RESIDUALS:
        raise ValueError(f"{who}: residual must be one of {', '.join(RESIDUALS)}; got {residual!r}")
    if residual == "drawn" and (fill is None or isinstance(fill, LineFill)):
        kind = "none" if fill is None else "LineFill"
        raise ValueError(
            f"{who}: residual 'drawn' needs a model whose fill can draw, such as GaussianFill "
            f"(`fill=True`, series of at most 1024 values); got {kind}"
        )


def usual_residual(fill: torch.nn.Module | None, samples: int) -> Residual:
    """The best single answer for one draw, and honest spread for several."""
    return "drawn" if samples > 1 and isinstance(fill, GaussianFill) else "mean"


@torch.no_grad()
def fit_fill(
    tokenizer: Tokenizer, scaled: SeriesSet | SourceSet, *, ratio: float, seed: int
) -> None:
    """Let the tokenizer's fill learn from what tokens leave over of training series with gaps.

    Up to 4,096 series, evenly chosen, get gaps and pass the tokenizer, fewer than 1,024 several
    times; the fill sees the series, what is decoded, and where the gaps were. A fill without `fit`
    is left as it is.

    Args:
        tokenizer: Trained; its `fill` is changed in place.
        scaled: Training series at the scale of the model.
        ratio: Largest share that is hidden; 0 stands for 0.9.
        seed: The run's seed.
    """
    if tokenizer.fill is None or not hasattr(tokenizer.fill, "fit"):
        return
    chosen = torch.arange(0, scaled.cases, max(1, -(-scaled.cases // MOST)))
    chosen = chosen.repeat_interleave(min(COPIES, max(1, ENOUGH // len(chosen))))
    some = scaled.take(chosen)
    shape: tuple[int, int, int] = some.shape
    holes = gap_mask(
        shape, ratio=ratio or LARGEST, valid=some.valid, generator=keyed_generator(seed, "fill")
    )
    seen = some.valid & ~holes
    partly = some._replace(values=line_fill(some.values, seen), valid=seen)
    decoded = decode_rows(tokenizer, encode_rows(tokenizer, partly))
    tokenizer.fill.fit(some.values, some.valid, holes=holes, guess=decoded)


def complete(
    fill: torch.nn.Module | None,
    scaled: SeriesSet,
    decoded: Tensor,
    *,
    residual: Residual,
    generator: Generator,
) -> Tensor:
    """Add to decoded series what is expected of the rest, given it where series are observed.

    Args:
        fill: The tokenizer's.
        scaled: The series, at the scale of the model.
        decoded: `(rows, channels, length)`, one or more for each series, in rounds.
        residual: `"mean"` is what is expected, `"drawn"` one draw, `"none"` leaves them as they
            are.
        generator: Source of the draws.

    Returns:
        `(rows, channels, length)`.
    """
    if residual == "none" or fill is None:
        return decoded
    rounds = len(decoded) // len(scaled.values)
    values, seen = (part.repeat(rounds, 1, 1) for part in scaled[:2])
    completed: Tensor = fill(
        values, seen, guess=decoded, drawn=residual == "drawn", generator=generator
    )
    return completed


def rehearse_fill(tokenizer: Tokenizer, data: SeriesSet) -> None:
    """Ask the fill, not yet fitted, for a series of the shape of what it is given.

    Raises:
        ValueError: If it returns another shape.
    """
    scaled = tokenizer.scaled(data)
    filled = tokenizer.fill(scaled.values, scaled.valid, guess=torch.zeros_like(scaled.values))
    if filled.shape != scaled.values.shape:
        raise ValueError(
            f"fit: the fill must return series {tuple(scaled.values.shape)}; "
            f"got {tuple(filled.shape)}"
        )
