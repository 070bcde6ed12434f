"""Dead codes: put a codebook vector that nothing uses where tokens are."""

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_axes,
    check_bool_mask,
    check_floating,
    check_ratio,
    check_size,
)
from ssltok._shared.ranks import broadcast_from_first, in_a_group, sum_over_ranks
from ssltok.quantizers._layout import finite_rows
from ssltok.quantizers._nearest import check_tokens_and_codebook

__all__ = ["revive_dead_codes_"]


@torch.no_grad()
def revive_dead_codes_(
    codebook: Tensor,
    counts: Tensor,
    tokens: Tensor,
    valid: Tensor | None = None,
    *,
    share: float = 0.1,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Move codes that are hardly used to tokens of this batch, in place.

    $$\text{dead}_k: \quad n_k < \rho \, \frac{1}{K} \sum_j n_j$$

    A dead code becomes a random token and gets the count $\frac{1}{K} \sum_j n_j$ of an average
    code: it is as settled as the others, and is not dead again in the next step. Different codes
    get different tokens as long as each process has at least `codebook_size` of them. No shape
    depends on values and nothing waits for the device. Processes of a group move the same codes to
    the same tokens.

    Args:
        codebook: $e$, `(codebook_size, dim)`; changed in place.
        counts: $n$, `(codebook_size,)`, floating point, running mean of the codes' use; changed
            in place.
        tokens: `(tokens, dim)`, floating point.
        valid: `(tokens,)`, boolean, True is real; padding is never chosen, nor is a token with NaN
            or infinity.
        share: $\rho$ in [0, 1], the share of the uniform count below which a code is dead.
        generator: Source of randomness, on the device of `tokens`.

    Returns:
        Which codes were moved, `(codebook_size,)` boolean; an optimizer's moments of these rows
        belong to the vectors that were there before.

    Raises:
        TypeError: If an argument is no tensor.
        ValueError: If shapes or dtypes are others, or `share` lies outside [0, 1].

    Example:
        >>> import torch
        >>> from ssltok.quantizers import revive_dead_codes_
        >>> codebook, counts = torch.tensor([[1.0], [50.0]]), torch.tensor([8.0, 0.0])
        >>> revive_dead_codes_(codebook, counts, torch.tensor([[2.0], [2.0]]))
        tensor([False,  True])
        >>> codebook, counts
        (tensor([[1.],
                [2.]]), tensor([8., 4.]))
    """
    who = "revive_dead_codes_"
    check_tokens_and_codebook(who, tokens, codebook)
    check_axes(who, "counts", counts, "codebook_size")
    check_floating(who, "counts", counts)
    check_size(who, "counts", counts, 0, codebook.shape[0])
    check_ratio(who, "share", share)
    if valid is None:
        valid = tokens.new_ones(tokens.shape[0], dtype=torch.bool)
    check_bool_mask(who, "valid", valid, tokens.shape[:1])
    valid = valid & finite_rows(tokens.to(codebook.dtype))
    uniform = counts.mean()
    candidates, any_real = _candidates(tokens, valid, codebook.shape[0], generator)
    dead = (counts < share * uniform) & any_real
    codebook.copy_(torch.where(dead[:, None], candidates.to(codebook.dtype), codebook))
    counts.copy_(torch.where(dead, uniform, counts))
    return dead


def _candidates(
    tokens: Tensor, valid: Tensor, size: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Return a random real token for each code, `(size, dim)`, and whether there is any."""
    real = valid.sum()
    if tokens.shape[0] > 0:
        keys = torch.rand(tokens.shape[0], generator=generator, device=tokens.device)
        order = torch.where(valid, keys, 2.0).argsort()
        ours = tokens[order[torch.arange(size, device=tokens.device) % real.clamp(min=1)]]
    else:
        ours = tokens.new_zeros(size, tokens.shape[1])
    if not in_a_group():
        return ours, real > 0
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    reals = sum_over_ranks(torch.arange(world, device=tokens.device).eq(rank) * real)
    draws = torch.rand(size, generator=generator, device=tokens.device)
    ends = reals.cumsum(0)
    owner = torch.searchsorted(ends, (broadcast_from_first(draws) * ends[-1]).long(), right=True)
    ours = torch.where((owner == rank)[:, None], ours, 0.0)
    return sum_over_ranks(ours), ends[-1] > 0
