"""Numbers that were measured or that number formats set, in one place, each with its reason."""

__all__ = [
    "ARGMAX_BLOCK",
    "ARGMAX_CODES",
    "ENTROPY_SCORES",
    "EXACT_BITS",
    "MOST_BITS",
    "NEAREST_SCORES",
    "NEAREST_SCORES_ELSEWHERE",
    "OUTER_NUMBERS",
    "SURE",
    "UNIT_NUMBERS",
    "USAGE_DECAY",
]

# How much is worked on at once; a test sets each to a small value and finds the same results.
NEAREST_SCORES = {"cpu": 2**19}
"""Scores `tokens x codes` of a search, by device: 2 MiB in float32, what a core's cache holds."""
NEAREST_SCORES_ELSEWHERE = 2**26
"""The same on other devices: what keeps them busy."""
ENTROPY_SCORES = 2**20
"""Probabilities `tokens x codes` of the entropy loss: they are computed twice, so fewer pieces."""
OUTER_NUMBERS = 2**17
"""Entries of one factor of the outer product of soft bits: half a MiB in float32."""
UNIT_NUMBERS = 2**16
"""Numbers in the backward pass of unit rows: 256 KiB in float32."""

ARGMAX_CODES, ARGMAX_BLOCK = 128, 64
"""Up to so many codes a plain argmax is fastest; beyond, blocks of so many are looked at first."""

EXACT_BITS = 53
"""Integers of so many bits are exact in float64, whose products are faster than those of int64."""
MOST_BITS = 62
"""A code and the one after the last, which stands for [MASK], must fit an int64."""
SURE = 40.0
"""Log-odds are cut here: $e^{-40}$ changes no sum even in float64, and no number is denormal."""

USAGE_DECAY = 0.99
"""How slowly `VectorQuantizer.counts` forgets, as in VQ-VAE; it serves revival and monitoring."""
