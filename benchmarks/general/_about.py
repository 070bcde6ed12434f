"""What the card of a trained model says."""

from typing import Any

from benchmarks.general._pool import FAMILIES, SHIPPED

__all__ = ["about"]


def about(name: str, row: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """The content of a model's card.

    Args:
        name: The model's versioned name.
        row: The last row of the log of its training.
        metrics: Numbers by what they measure, from `benchmarks/studies/general.py`.
    """
    count = sum(count for _, count, _ in FAMILIES.values())
    return {
        "name": name,
        "licence": "MIT (code and weights)",
        "data": [
            f"{count:,} series drawn by formulas ({', '.join(FAMILIES)}), mixed as by TSMixup, "
            "cut, resampled, made noisy: ssltok.data draws them.",
            f"The training parts of the sets that lie inside sktime: {', '.join(SHIPPED)}. "
            "Judge it on no set of their families.",
        ],
        "training": {
            "command": "python -m benchmarks.general",
            "steps of 64 pairs of frames": row.get("step", 0),
            "processor seconds, one core": row.get("cpu_s", 0),
            "objective": "root of the rebuilding error; NT-Xent between two views' summaries of "
            "the quantised frames; a random number of levels for half of the frames",
        },
        "metrics": metrics or {"none yet": ""},
        "limits": [
            "Each channel is coded by itself: how channels move together is in the codes, but in "
            "no token alone.",
            "Patches of more than 32 samples are smoothed; rough series need more levels or "
            "shorter patches.",
            "It knows no calendar and no units; whether a series is unusual, a prior on your own "
            "series must say (`fit_prior`).",
            "Weights are small and were trained for minutes: a model of your own set, trained on "
            "it (`SSLTokenizer().fit`), may spend fewer bits.",
        ],
    }
