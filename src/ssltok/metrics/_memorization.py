"""Memory: has the generator learned the law, or the training set by heart."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_codes
from ssltok.metrics._checks import check_two_sets, one_if_finite
from ssltok.metrics._distances import euclidean_distance, nearest_neighbor_distance
from ssltok.metrics._pairs_fast import nearest_other

__all__ = ["MemorizationRatio", "exact_repeats", "memorization_ratio", "token_reuse"]


class MemorizationRatio(NamedTuple):
    """A ratio and what to read it against; float64 scalars >= 0.

    Attributes:
        ratio: The generator's; 0 if it copies.
        reference: What real, unseen series score.
    """

    ratio: Tensor
    reference: Tensor


def memorization_ratio(
    train: Tensor,
    test: Tensor,
    generated: Tensor,
    *,
    distance: Callable[[Tensor, Tensor], Tensor] = euclidean_distance,
) -> MemorizationRatio:
    r"""Measure whether generated series lie nearer to the training set than to unseen series.

    $$\frac{\sum_g \min_{x \in \mathrm{train}} d(g, x)}{\sum_g \min_{x \in \mathrm{test}} d(g, x)}$$

    0 for a generator that copies. One that has learned the law scores the reference, which puts
    each test series in the place of a generated one (and leaves it out of the test set). Read the
    ratio against it: splits that differ in size or in law move both away from 1 alike. Every case
    of both splits is compared, so that no copied series is overlooked.

    Args:
        train: The series the generator learned from, `(cases, channels, length)`.
        test: Real series it has not seen, at least 2.
        generated: Generated series.
        distance: All distances of two sets, such as `dtw_distance`.

    Returns:
        `MemorizationRatio(ratio, reference)`.

    Raises:
        ValueError: If the shapes do not fit, or the test set has fewer than 2 cases.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import memorization_ratio
        >>> train = torch.tensor([0.0, 8.0])[:, None, None]
        >>> test = torch.tensor([2.0, 6.0])[:, None, None]
        >>> generated = torch.tensor([9.0])[:, None, None]  # 1 from train, 3 from test
        >>> ratio = memorization_ratio(train, test, generated)
        >>> round(ratio.ratio.item(), 4), ratio.reference.item()  # test: 2 from train, 4 from test
        (0.3333, 0.5)
    """
    who = "memorization_ratio"
    check_two_sets(who, train, test, names=("train", "test"))
    check_two_sets(who, test, generated, names=("test", "generated"))
    check_at_least(who, "cases of test", len(test), 2)
    near = nearest_neighbor_distance(train, generated, distance=distance).distance.sum()
    far = nearest_neighbor_distance(test, generated, distance=distance).distance.sum()
    apart = nearest_other(distance, test).sum()
    seen = nearest_neighbor_distance(train, test, distance=distance).distance.sum()
    return MemorizationRatio(ratio=near / far, reference=seen / apart)


def exact_repeats(train: Tensor, generated: Tensor) -> Tensor:
    """Measure the share of generated series that occur in the training set, point for point.

    Args:
        train: The series the generator learned from, `(cases, channels, length)`.
        generated: Generated series of the same shape a case. Both sets are compared in the
            narrower of their two types, for a copy may have been rounded on its way.

    Returns:
        A float64 scalar in [0, 1]; NaN if a number is not finite.

    Raises:
        ValueError: If the shapes do not fit.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import exact_repeats
        >>> train = torch.eye(4)[:, None]
        >>> exact_repeats(train, torch.stack([train[2], train[2] + 1e-6])).item()
        0.5
    """
    check_two_sets("exact_repeats", train, generated, names=("train", "generated"))
    narrower = max(train.dtype, generated.dtype, key=lambda dtype: torch.finfo(dtype).eps)
    rows = [part.detach().to(narrower).double() + 0.0 for part in (train, generated)]
    return _share_found(rows[0], rows[1]) * one_if_finite(train, generated).cpu()


def token_reuse(train: Tensor, generated: Tensor) -> Tensor:
    """Measure the share of generated token sequences that occur whole in the training set.

    A tokenizer merges series that differ little, so this sees copies that `exact_repeats` cannot.
    Read it against the share for unseen real series, `token_reuse(train, test)`: short sequences
    over a small codebook meet by chance.

    Args:
        train: Codes of the training set, `(batch, tokens)` int64.
        generated: Codes of the generated set, `(batch, tokens)` int64, -1 where padded.

    Returns:
        A float64 scalar in [0, 1].

    Raises:
        ValueError: If codes are not `(batch, tokens)` int64 of one number of tokens.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import token_reuse
        >>> train = torch.tensor([[1, 2, 3], [4, 5, 6]])
        >>> token_reuse(train, torch.tensor([[4, 5, 6], [4, 5, 3], [1, 2, 3], [0, 0, 0]])).item()
        0.5
    """
    who = "token_reuse"
    for name, codes in (("train", train), ("generated", generated)):
        check_codes(who, name, codes)
        check_axes(who, name, codes, "batch tokens")
        if codes.numel() == 0:
            raise ValueError(f"{who}: {name} must hold a code; got shape {tuple(codes.shape)}")
    if train.shape[1] != generated.shape[1]:
        raise ValueError(
            f"{who}: train and generated must have the same tokens; "
            f"got {train.shape[1]} and {generated.shape[1]}"
        )
    return _share_found(train, generated)


def _share_found(train: Tensor, generated: Tensor) -> Tensor:
    """Compare rows as strings of bytes, sorted once."""
    keys = [_as_bytes(part) for part in (train, generated)]
    return torch.tensor(float(np.isin(keys[1], keys[0]).mean()), dtype=torch.float64)


def _as_bytes(rows: Tensor) -> NDArray[np.void]:
    flat = rows.flatten(1).cpu().contiguous().numpy()
    return flat.view(np.dtype((np.void, flat.shape[1] * flat.itemsize)))[:, 0]
