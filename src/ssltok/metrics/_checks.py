"""Checks that every metric shares: features of two sets, series of two sets, labels."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_codes, check_floating

__all__ = [
    "check_features",
    "check_finite",
    "check_known_labels",
    "check_labels",
    "check_two_sets",
    "missing_extra",
    "one_if_finite",
]


def check_features(
    who: str,
    first: Tensor,
    second: Tensor,
    *,
    names: tuple[str, str] = ("real", "generated"),
    least_cases: int = 1,
) -> None:
    """Ask for two sets of features, `(cases, dim)` each, of one `dim`."""
    for name, features in zip(names, (first, second), strict=True):
        check_floating(who, name, features)
        check_axes(who, name, features, "cases dim")
        check_at_least(who, f"cases of {name}", features.shape[0], least_cases)
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{who}: {names[0]} and {names[1]} must have one dim; "
            f"got {first.shape[1]} and {second.shape[1]}"
        )


def check_two_sets(
    who: str,
    first: Tensor,
    second: Tensor,
    *,
    names: tuple[str, str] = ("real", "generated"),
    least_cases: int = 1,
    same_length: bool = True,
) -> None:
    """Ask for two sets of series, `(cases, channels, length)` each, of one shape per case."""
    for name, series in zip(names, (first, second), strict=True):
        check_floating(who, name, series)
        check_axes(who, name, series, "cases channels length")
        check_at_least(who, f"cases of {name}", series.shape[0], least_cases)
        check_at_least(who, f"channels of {name}", series.shape[1], 1)
        check_at_least(who, f"length of {name}", series.shape[2], 1)
    both = f"{names[0]} and {names[1]}"
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{who}: {both} must have the same channels; got {first.shape[1]} and {second.shape[1]}"
        )
    if same_length and first.shape[2] != second.shape[2]:
        raise ValueError(
            f"{who}: {both} must have the same length; got {first.shape[2]} and {second.shape[2]}"
        )


def check_labels(who: str, name: str, labels: Tensor, cases: int) -> None:
    """Ask for int64 labels, one for each case."""
    check_codes(who, name, labels)
    if labels.shape != torch.Size([cases]):
        raise ValueError(
            f"{who}: {name} must have shape ({cases},), one label a case; got {tuple(labels.shape)}"
        )


def check_known_labels(who: str, name: str, labels: Tensor, cases: int) -> None:
    """Ask for int64 labels from 0, one for each case; it waits for the device."""
    check_labels(who, name, labels, cases)
    check_at_least(who, name, int(labels.min()), 0)


def check_finite(who: str, name: str, rows: Tensor) -> None:
    """Ask for rows of finite numbers; it waits for the device."""
    broken = int((~rows.isfinite()).flatten(1).any(1).sum())
    if broken:
        raise ValueError(f"{who}: {name} must be finite; got {broken} of {len(rows)} rows without")


def one_if_finite(*sets: Tensor) -> Tensor:
    """Return 1, or NaN if a number of a set is not finite: a factor that waits for no device."""
    finite = torch.stack([part.isfinite().all().to(sets[0].device) for part in sets]).all()
    return torch.where(finite, 1.0, torch.nan).double()


def missing_extra(who: str, package: str) -> ImportError:
    """Return the error for an extra that is not installed."""
    return ImportError(f"{who}: {package} is needed; install it with pip install ssltok[pipelines]")
