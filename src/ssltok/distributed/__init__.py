"""Collectives that gradients pass through; each is the identity when no process group exists."""

from ssltok.distributed._gather import gather
from ssltok.distributed._place import is_first, rank_and_world
from ssltok.distributed._reduce import reduce_mean, reduce_sum

__all__ = ["gather", "is_first", "rank_and_world", "reduce_mean", "reduce_sum"]
