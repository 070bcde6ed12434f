"""At what size one way of computing overtakes another, and how many numbers are held at once.

Every switch of the losses, the decoder and the metrics, measured on processors of today. None
changes what is computed, only how; a wrong value costs time or memory. They are read where they are
used, as `sizes.FEW_NUMBERS`, so that a test can set one and take either side of its switch.
"""

__all__ = [
    "BLOCKS",
    "CACHED_NUMBERS",
    "CACHED_SIMILARITIES",
    "CODES_A_BLOCK",
    "DISTANCES",
    "FEW_NUMBERS",
    "FEW_SIMILARITIES",
    "MANY_SIMILARITIES",
    "PRODUCT_ROWS",
    "ROWS",
]

PRODUCT_ROWS = 256
"""Rows of a symmetric product above which half the multiplications are worth more calls."""

BLOCKS = 4
"""Bands into which such a product is cut: five eighths of it are computed, the rest copied."""

FEW_NUMBERS = 2**16
"""Numbers below which an autograd function written by hand costs more calls than it saves."""

CACHED_NUMBERS = 2**18
"""Numbers of one piece of work on a processor: 1 MiB in float32 stays in a core's cache."""

CACHED_SIMILARITIES = 2**18
"""Similarities with a queue held at once on a processor, for the same reason."""

MANY_SIMILARITIES = 2**26
"""The same elsewhere: 256 MiB in float32, which keep an accelerator busy."""

FEW_SIMILARITIES = 2**16
"""Similarities up to which all of them at once take fewer calls than pieces do."""

CODES_A_BLOCK = 32
"""Codes summed up first where a large codebook is searched in two levels."""

DISTANCES = 2**22
"""Distances held at once: 32 MiB in float64."""

ROWS = 1024
"""Rows of one set compared with all of the other at once, where each pair has one number."""
