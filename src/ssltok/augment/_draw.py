"""What every augmentation does alike: checks, seeded draws, and keeping to the real samples."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_bool_mask, check_floating

__all__ = [
    "at_least_single",
    "check_range",
    "check_series",
    "gather_real",
    "keep_real",
    "normal",
    "on_real_samples",
    "real_steps",
    "uniform",
]


def check_series(
    who: str,
    series: Tensor,
    valid: Tensor | None,
    generator: torch.Generator | None,
    *,
    least_length: int = 1,
) -> None:
    """Ask for a series, its `valid` and a generator that fit each other."""
    check_floating(who, "series", series)
    check_axes(who, "series", series, "batch channels length")
    check_at_least(who, "batch", series.shape[0], 1)
    check_at_least(who, "channels", series.shape[1], 1)
    check_at_least(who, "length", series.shape[2], least_length)
    if valid is not None:
        check_bool_mask(who, "valid", valid, (series.shape[0], series.shape[2]))
    if generator is not None and generator.device.type != series.device.type:
        raise ValueError(
            f"{who}: generator must live on the device of series; "
            f"got {generator.device.type} and {series.device.type}"
        )


def check_range(who: str, name: str, bounds: tuple[float, float], low: float = 0.0) -> None:
    """Ask for `(first, last)` with `low < first <= last`."""
    pair = isinstance(bounds, Sequence) and len(bounds) == 2
    if not pair or not low < bounds[0] <= bounds[1] < float("inf"):
        raise ValueError(f"{who}: {name} must satisfy {low:g} < low <= high; got {bounds}")


def at_least_single(series: Tensor) -> torch.dtype:
    """The dtype of parameters and positions: float64 for float64 series, else float32."""
    return torch.promote_types(series.dtype, torch.float32)


def uniform(shape: Sequence[int], series: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw from U[0, 1), on the device of `series`."""
    return torch.rand(
        tuple(shape), generator=generator, device=series.device, dtype=at_least_single(series)
    )


def normal(
    shape: Sequence[int],
    series: Tensor,
    generator: torch.Generator | None,
    *,
    mean: float = 0.0,
    std: float = 1.0,
) -> Tensor:
    """Draw from N(mean, std^2), on the device of `series`."""
    drawn = torch.empty(tuple(shape), device=series.device, dtype=at_least_single(series))
    return drawn.normal_(mean, std, generator=generator)


def keep_real(series: Tensor, changed: Tensor, valid: Tensor | None) -> Tensor:
    """Take the changed values where they are real, and the others as they were."""
    return changed if valid is None else torch.where(valid[:, None], changed, series)


def real_steps(series: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Count the real samples: each one's number from 0, and how many there are.

    Returns `(batch, length)` and `(batch, 1)`, or with batch 1 where all samples are real.
    """
    if valid is None:
        steps = torch.arange(series.shape[-1], device=series.device)[None]
        return steps, steps[:, -1:] + 1
    return (valid.cumsum(-1) - 1).clamp(min=0), valid.sum(-1, keepdim=True)


def gather_real(series: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Put the real samples of each series in front, and repeat the last of them behind.

    Returns the series, `(batch, channels, length)`, and how many are real, `(batch, 1)`.
    """
    _, lengths = real_steps(series, valid)
    if valid is None:
        return series, lengths.expand(series.shape[0], -1)
    places = torch.argsort(~valid, dim=-1, stable=True)
    front = torch.arange(series.shape[-1], device=series.device)
    places = places.gather(1, front.minimum((lengths - 1).clamp(min=0)))
    together = series.gather(2, places[:, None].expand_as(series))
    return torch.where((lengths > 0)[:, None], together, 0.0), lengths


def on_real_samples(
    series: Tensor, valid: Tensor | None, kernel: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Apply `kernel(series, lengths)` to the real samples alone, as if they were adjacent.

    `kernel` gets what `gather_real` returns; what it gives for the real samples goes back to
    their places. Samples that are not real stay as they are, and nothing of them is read.
    """
    changed = kernel(*gather_real(series, valid))
    if valid is None:
        return changed
    ranks, _ = real_steps(series, valid)
    return keep_real(series, changed.gather(2, ranks[:, None].expand_as(series)), valid)
