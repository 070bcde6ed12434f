"""Every pair at least once: rows of choices, found greedily and always the same."""

import itertools
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

__all__ = ["covering_rows", "in_turn", "pairs_of", "tenth"]

Row = dict[str, Any]
Allowed = Callable[[Row], bool]
Pair = tuple[str, Any, str, Any]


def pairs_of(choices: Mapping[str, Sequence[Any]], allowed: Allowed) -> list[Pair]:
    """Every two choices of different factors that may stand in one row."""
    return [
        (one, a, two, b)
        for one, two in itertools.combinations(choices, 2)
        for a, b in itertools.product(choices[one], choices[two])
        if allowed({one: a, two: b})
    ]


def covering_rows(choices: Mapping[str, Sequence[Any]], allowed: Allowed) -> list[Row]:
    """Rows with a choice for each factor, in which every allowed pair stands at least once.

    Args:
        choices: The choices of each factor.
        allowed: Whether choices may stand together; asked of rows that are not complete too, and
            true of every row whose pairs are all allowed.

    Returns:
        The rows. Each begins with the first pair that is missing, and takes for every other
        factor, in turn, what covers the most missing pairs.
    """
    missing = dict.fromkeys(pairs_of(choices, allowed))
    rows: list[Row] = []
    while missing:
        one, a, two, b = next(iter(missing))
        row = {one: a, two: b}
        for factor in choices:
            if factor not in row:
                row[factor] = _best(factor, row, choices, allowed, missing, len(rows))
        row = {factor: row[factor] for factor in choices}
        for first, second in itertools.combinations(choices, 2):
            missing.pop((first, row[first], second, row[second]), None)
        rows.append(row)
    return rows


def _best(
    factor: str,
    row: Row,
    choices: Mapping[str, Sequence[Any]],
    allowed: Allowed,
    missing: Mapping[Pair, None],
    turn: int,
) -> Any:
    """The choice that covers most; of equals another in each row."""
    places = {name: place for place, name in enumerate(choices)}

    def covered(value: Any) -> int:
        pairs = (
            (name, known, factor, value)
            if places[name] < places[factor]
            else (factor, value, name, known)
            for name, known in row.items()
        )
        return sum(pair in missing for pair in pairs)

    options = [value for value in choices[factor] if allowed({**row, factor: value})]
    start = turn % len(options)
    return max(options[start:] + options[:start], key=covered)


def tenth(names: Sequence[str], *, of: int = 10) -> list[str]:
    """All names where SSLTOK_ALL is set; otherwise one of `of`, by a hash of each."""
    if os.environ.get("SSLTOK_ALL"):
        return list(names)
    return [name for name in names if zlib.crc32(name.encode()) % of == 0]


def in_turn(names: Iterable[Any], others: Iterable[Any]) -> list[tuple[Any, Any]]:
    """All pairs where SSLTOK_ALL is set; otherwise each name once, and the others in turn."""
    names, others = list(names), list(others)
    if os.environ.get("SSLTOK_ALL"):
        return list(itertools.product(names, others))
    count = max(len(names), len(others))
    return [(names[i % len(names)], others[i % len(others)]) for i in range(count)]
