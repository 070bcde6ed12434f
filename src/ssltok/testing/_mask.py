"""What every mask sampler promises: real tokens alone, some in each row, by its generator."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok.testing._asking import ask, ask_quiet

__all__ = ["check_mask"]

DRAWS = 8


def check_mask(sampler: Callable[..., Tensor], *, shape: tuple[int, int] = (6, 24)) -> None:
    """Ask of a mask sampler what the training of a prior and masked objectives need.

    It is called as `sampler(shape, valid=valid, generator=generator)`.

    - It returns a boolean mask of the shape, True where a token is hidden.
    - Padding is never hidden; in every row with a real token one is hidden.
    - Its generator alone decides: equal seeds draw equal masks, and the global stream stays.
    - What it is given stays as it is; without `valid` everything is real.

    Args:
        sampler: From `shape`, `valid` and `generator` to a mask; bind other options first.
        shape: `(batch, tokens)` of the masks; at least 5 rows.

    Raises:
        AssertionError: With who, rule and fact, at the first broken promise.

    Example:
        >>> from functools import partial
        >>> from ssltok.masking import span_mask
        >>> from ssltok.testing import check_mask
        >>> check_mask(partial(span_mask, ratio=0.4, length=3))
    """
    rows, tokens = shape
    ends = torch.tensor([tokens, 0, 1, 2, max(tokens // 3, 1)]).clamp(max=tokens)
    ends = torch.cat([ends, torch.full((max(rows - 5, 0),), tokens)])[:rows]
    valid = torch.arange(tokens) < ends[:, None]
    for seed in range(DRAWS):
        copy = valid.clone()
        with ask_quiet(sampler, "it"):
            mask = sampler(shape, valid=valid, generator=torch.Generator().manual_seed(seed))
            again = sampler(shape, valid=valid, generator=torch.Generator().manual_seed(seed))
            whole = sampler(shape, generator=torch.Generator().manual_seed(seed))
        for drawn in (mask, whole):
            ask(isinstance(drawn, Tensor), sampler, "it must return one tensor", type(drawn))
            ask(drawn.dtype == torch.bool, sampler, "a mask must be boolean", drawn.dtype)
            ask(tuple(drawn.shape) == shape, sampler, f"a mask must have shape {shape}",
                tuple(drawn.shape))  # fmt: skip
        ask(torch.equal(valid, copy), sampler, "valid must stay as it is", "another")
        ask(torch.equal(mask, again), sampler, "equal seeds must draw equal masks", "others")
        hidden = int((mask & ~valid).sum())
        ask(not hidden, sampler, "padding must not be hidden", f"{hidden} of it hidden")
        real = valid.any(dim=1)
        some = bool(mask.any(dim=1)[real].all()) and bool(whole.any(dim=1).all())
        ask(some, sampler, "every row with a real token must hide one", "a row without")
