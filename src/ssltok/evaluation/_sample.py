"""A sample of sets that are too large to be measured as a whole."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok.data import label_index
from ssltok.evaluation._sets import LEAST
from ssltok.evaluation._tokens import Tokens
from ssltok.training import keyed_generator

__all__ = ["sample_sets"]

NAMES = ("training", "test", "generated")


def sample_sets(
    who: str,
    series: Sequence[Any],
    labels: Sequence[Any],
    tokens: Tokens | None,
    *,
    most: int,
    seed: int,
) -> tuple[list[Any], list[Any], Tokens | None, str]:
    """Take at most so many series of each set, with their labels and codes.

    Of the training series every class has one in the sample: no other set has unknown labels then.

    Args:
        who: Who asks, for the error's text.
        series: Training, test and generated series; arrays, tensors, or lists of series.
        labels: Their labels, or None.
        tokens: Their codes, or None.
        most: How many, at least 4.
        seed: Decides which.

    Returns:
        Series, labels and tokens, and what was sampled, in words; empty if nothing was.

    Raises:
        ValueError: If `most` is too small, or labels or codes are not as many as series.
        TypeError: If a set is no array, tensor or list of series.
    """
    check_at_least(who, "most", most, LEAST)
    sets, known, codes, words = list(series), list(labels), _codes(tokens), []
    for place, name in enumerate(NAMES):
        if not isinstance(sets[place], np.ndarray | Tensor | list | tuple):
            raise TypeError(
                f"{who}: with most=, {name} series must be an array, a tensor or a list; "
                f"got {type(sets[place]).__name__}"
            )
        cases = len(sets[place])
        for what, beside in (("labels", known[place]), ("codes", codes[place])):
            if beside is not None and len(beside) != cases:
                raise ValueError(
                    f"{who}: {what} of {name} series must be {cases}, as many as these; "
                    f"got {len(beside)}"
                )
        if cases <= most:
            continue
        generator = keyed_generator(seed, f"{who} sample of {name}")
        order = torch.randperm(cases, generator=generator)
        if not place and known[0] is not None:
            order = _classes_first(who, known[0], order, most)
        chosen = order[:most].sort().values
        sets[place] = _at(sets[place], chosen)
        known[place] = _at(known[place], chosen)
        codes[place] = _at(codes[place], chosen)
        words.append(f"{most} of {cases} {name}")
    if tokens is not None:
        tokens = tokens._replace(train=codes[0], test=codes[1], generated=codes[2])
    return sets, known, tokens, f"a random sample of {', '.join(words)} series" if words else ""


def _classes_first(who: str, labels: Any, order: Tensor, most: int) -> Tensor:
    """The order with one case of each class in front."""
    index, classes = label_index(labels, len(order), who=f"{who}: train_labels")
    if len(classes) > most:
        raise ValueError(
            f"{who}: most must be at least the {len(classes)} classes of train_labels; got {most}"
        )
    ordered = index[order]
    first = torch.zeros(len(order), dtype=torch.bool)
    for number in range(len(classes)):
        first[(ordered == number).nonzero()[:1, 0]] = True
    return torch.cat([order[first], order[~first]])


def _codes(tokens: Tokens | None) -> list[Any]:
    if tokens is None:
        return [None, None, None]
    return [tokens.train, tokens.test, tokens.generated]


def _at(items: Any, chosen: Tensor) -> Any:
    """Items at some places, in the type they came in."""
    if items is None:
        return None
    if isinstance(items, Tensor) and not items.is_nested:
        return items[chosen.to(items.device)]
    if isinstance(items, np.ndarray):
        return np.asarray(items[chosen.numpy()])
    if hasattr(items, "iloc"):  # a data frame or a column of one
        return items.iloc[chosen.numpy()]
    items = list(items)
    return [items[place] for place in chosen.tolist()]
