"""Numbers of a report, with as many digits as they deserve."""

import math

__all__ = ["short", "with_spread"]

NARROW = "\N{NO-BREAK SPACE}"
LARGE = 1e5


def with_spread(value: float, spread: float) -> str:
    """Both to two digits of the spread, a common power of ten in front where they are large."""
    if math.isnan(spread):
        return short(value)
    largest = max(abs(value), spread)
    if largest >= LARGE:
        power = math.floor(math.log10(largest))
        decimals = 1
        if spread > 0:
            decimals = min(6, max(1, 1 + power - math.floor(math.log10(spread))))
        pair = f"{value / 10**power:.{decimals}f}{NARROW}±{NARROW}{spread / 10**power:.{decimals}f}"
        return f"({pair})e{power}"
    decimals = max(0, 1 - math.floor(math.log10(spread))) if spread > 1e-6 else 7
    if decimals > 6:
        return f"{short(value)}{NARROW}±{NARROW}{short(spread, 2)}"
    return f"{value:.{decimals}f}{NARROW}±{NARROW}{spread:.{decimals}f}"


def short(value: float, digits: int = 4) -> str:
    """Some digits, in plain notation where that is short."""
    return "-" if math.isnan(value) else f"{value:.{digits}g}"
