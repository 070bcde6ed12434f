"""The state of a codebook that follows its tokens: one update, two numbers a code."""

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_codes,
    check_floating,
    check_ratio,
    check_size,
)
from ssltok._shared.numerics import full_precision
from ssltok._shared.ranks import in_a_group, sum_over_ranks
from ssltok.quantizers._layout import check_code_range, without_lost_rows
from ssltok.quantizers._nearest import check_tokens_and_codebook

__all__ = ["code_counts", "code_sums", "ema_update_"]


@torch.no_grad()
def ema_update_(
    codebook: Tensor,
    counts: Tensor,
    tokens: Tensor,
    codes: Tensor,
    *,
    decay: float,
    weights: Tensor | None = None,
) -> None:
    r"""Move the codes that were used towards the mean of their tokens, in place.

    $$n_k \leftarrow \gamma n_k + (1 - \gamma) c_k, \qquad
      e_k \leftarrow \frac{\gamma n_k e_k + (1 - \gamma) \sum_{i: k_i = k} x_i}
                          {\gamma n_k + (1 - \gamma) c_k}$$

    with $c_k$ the number of tokens of code $k$. It is the update of VQ-VAE with its sums written as
    $m_k = n_k e_k$, which holds at all times here, because the sums are not stored: nothing can
    go stale when a codebook is initialised, set, revived or loaded. A code without tokens stays
    bit for bit where it is (the usual Laplace smoothing pulls it to the origin), and a step without
    any token changes nothing. A token with NaN or infinity counts nothing, as padding. The sums of
    all processes are added in one all-reduce, so that their codebooks stay equal.

    Args:
        codebook: $e$, `(codebook_size, dim)`, float32 or float64; changed in place.
        counts: $n$, `(codebook_size,)`, the same dtype; changed in place.
        tokens: $x$, `(tokens, dim)`, floating point.
        codes: $k$, `(tokens,)` int64; tokens with -1 are padding and count nothing.
        decay: $\gamma$ in [0, 1].
        weights: $w$, `(codebook_size,)` in [0, 1]: code $k$ moves by $w_k (1 - \gamma)$ instead of
            $1 - \gamma$, and with 0 stays where it is; None: all are 1.

    Raises:
        TypeError: If an argument is no tensor.
        ValueError: If shapes or dtypes are others, the codebook is empty, a code is out of range
            (looked at on a CPU only) or `decay` lies outside [0, 1].

    Example:
        >>> import torch
        >>> from ssltok.quantizers import ema_update_
        >>> codebook, counts = torch.tensor([[0.0], [5.0]]), torch.tensor([1.0, 1.0])
        >>> tokens, codes = torch.tensor([[3.0], [1.0], [9.0]]), torch.tensor([0, 0, -1])
        >>> ema_update_(codebook, counts, tokens, codes, decay=0.5)
        >>> codebook, counts  # (0.5 * 0 + 0.5 * 4) / (0.5 + 0.5 * 2); code 1 was not used
        (tensor([[1.3333],
                [5.0000]]), tensor([1.5000, 0.5000]))

    References:
        van den Oord et al., *Neural discrete representation learning*, 2017,
        <https://arxiv.org/abs/1711.00937>, appendix A.1.
    """
    who = "ema_update_"
    check_tokens_and_codebook(who, tokens, codebook)
    check_axes(who, "counts", counts, "codebook_size")
    check_size(who, "counts", counts, 0, codebook.shape[0])
    check_ratio(who, "decay", decay)
    if codebook.dtype not in (torch.float32, torch.float64) or counts.dtype != codebook.dtype:
        raise ValueError(
            f"{who}: codebook and counts must both be float32 or float64; "
            f"got {codebook.dtype} and {counts.dtype}"
        )
    if weights is not None:
        check_floating(who, "weights", weights)
        check_axes(who, "weights", weights, "codebook_size")
        check_size(who, "weights", weights, 0, codebook.shape[0])
    check_code_places(who, codes, tokens, codebook.shape[0])
    tokens = tokens.to(codebook.dtype)
    sums, used = code_sums(tokens, without_lost_rows(codes, tokens), codebook.shape[0])
    share: float | Tensor = 1 - decay
    rest = used.new_full((), decay)
    if weights is not None:
        share = share * weights.to(used)
        rest = 1 - share
    hits = used * share
    means = sums / used.clamp(min=1)[:, None]
    counts.mul_(torch.where(used.sum() > 0, rest, 1.0)).add_(hits)
    moved = hits / counts.clamp(min=torch.finfo(counts.dtype).tiny)
    codebook.lerp_(means, moved[:, None])


def code_counts(codes: Tensor, codebook_size: int) -> Tensor:
    """Count how often each code occurs, over all processes and without waiting for the device.

    Counts add up: sum them over the batches of a set, then ask for the usage, the perplexity or
    the dead codes of the whole set. The same figures of single batches depend on the batch size.

    Args:
        codes: int64, any shape; -1 is padding and is left out.
        codebook_size: The number of codes.

    Returns:
        Counts, `(codebook_size,)` int64.

    Raises:
        TypeError: If `codes` is no tensor.
        ValueError: If `codes` is not int64 or (looked at on a CPU only) out of range, or
            `codebook_size < 1`.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import code_counts
        >>> code_counts(torch.tensor([[2, 2], [0, -1]]), 4)
        tensor([1, 0, 2, 0])
    """
    who = "code_counts"
    check_codes(who, "codes", codes)
    check_at_least(who, "codebook_size", codebook_size, 1)
    check_code_range(who, codes, codebook_size)
    flat = codes.reshape(-1)
    counts = flat.new_zeros(codebook_size + 1)
    counts.index_add_(0, torch.where(flat < 0, codebook_size, flat), torch.ones_like(flat))
    return sum_over_ranks(counts[:-1])


def check_code_places(who: str, codes: Tensor, tokens: Tensor, codebook_size: int) -> None:
    """Ask for a code in `[-1, codebook_size)` of each token."""
    check_codes(who, "codes", codes)
    check_axes(who, "codes", codes, "tokens")
    check_size(who, "codes", codes, 0, tokens.shape[0])
    check_code_range(who, codes, codebook_size)


def code_sums(tokens: Tensor, codes: Tensor, codebook_size: int) -> tuple[Tensor, Tensor]:
    """Add up the tokens of each code, and their number, over all processes in one all-reduce.

    Padding goes to a row of its own, which is cut off: no shape depends on values.
    """
    places = torch.where(codes < 0, codebook_size, codes)
    with full_precision(tokens):
        sums = tokens.new_zeros(codebook_size + 1, tokens.shape[1]).index_add_(0, places, tokens)
        counts = tokens.new_zeros(codebook_size + 1)
        counts.index_add_(0, places, tokens.new_ones(1).expand(tokens.shape[0]))
    if in_a_group():
        fused = sum_over_ranks(torch.cat([sums, counts[:, None]], dim=1))
        sums, counts = fused[:, :-1], fused[:, -1]
    return sums[:-1], counts[:-1]
