"""ssltok: self-supervised, vector-quantised tokens of time series, and masked generation.

A subpackage is the address of a thing: `from ssltok.losses import barlow_twins_loss`.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
