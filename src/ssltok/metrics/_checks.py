"""Checks that every metric shares: features of two sets, series of two sets, labels."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_codes, check_floating

__all__ = ["check_features", "check_labels", "check_series", "missing_extra"]


def check_features(who: str, real: Tensor, generated: Tensor, *, least_cases: int = 1) -> None:
    """Ask for two sets of features, `(cases, dim)` each, of one `dim`."""
    for name, features in (("real", real), ("generated", generated)):
        check_floating(who, name, features)
        check_axes(who, name, features, "cases dim")
        check_at_least(who, f"cases of {name}", features.shape[0], least_cases)
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            f"{who}: real and generated must have one dim; "
            f"got {real.shape[1]} and {generated.shape[1]}"
        )


def check_series(
    who: str, real: Tensor, generated: Tensor, *, least_cases: int = 1, same_length: bool = True
) -> None:
    """Ask for two sets of series, `(cases, channels, length)` each, of one shape per case."""
    for name, series in (("real", real), ("generated", generated)):
        check_floating(who, name, series)
        check_axes(who, name, series, "cases channels length")
        check_at_least(who, f"cases of {name}", series.shape[0], least_cases)
        check_at_least(who, f"channels of {name}", series.shape[1], 1)
        check_at_least(who, f"length of {name}", series.shape[2], 1)
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            f"{who}: real and generated must have the same channels; "
            f"got {real.shape[1]} and {generated.shape[1]}"
        )
    if same_length and real.shape[2] != generated.shape[2]:
        raise ValueError(
            f"{who}: real and generated must have the same length; "
            f"got {real.shape[2]} and {generated.shape[2]}"
        )


def check_labels(who: str, name: str, labels: Tensor, cases: int) -> None:
    """Ask for int64 labels, one for each case."""
    check_codes(who, name, labels)
    if labels.shape != torch.Size([cases]):
        raise ValueError(
            f"{who}: {name} must have shape ({cases},), one label a case; got {tuple(labels.shape)}"
        )


def missing_extra(who: str, package: str) -> ImportError:
    """Return the error for an extra that is not installed."""
    return ImportError(f"{who}: {package} is needed; install it with pip install ssltok[pipelines]")
