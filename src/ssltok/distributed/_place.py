"""Which of the processes this is."""

import torch.distributed as dist

__all__ = ["is_first", "rank_and_world"]


def rank_and_world() -> tuple[int, int]:
    """Return this process's number and how many there are; (0, 1) without a process group.

    Example:
        >>> from ssltok.distributed import rank_and_world
        >>> rank_and_world()  # a single process
        (0, 1)
    """
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def is_first() -> bool:
    """Say whether this is the first process, the one that writes files and talks to the user.

    Example:
        >>> from ssltok.distributed import is_first
        >>> is_first()  # a single process
        True
    """
    return rank_and_world()[0] == 0
