"""The entropy of codes in pieces: no matrix of tokens by codes is kept for the way back."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import ssltok.quantizers._tuning as tuning
from ssltok._shared.numerics import full_precision, upcast
from ssltok._shared.ranks import sum_over_ranks

__all__ = ["codebook_entropy_fast"]


def codebook_entropy_fast(
    tokens: Tensor,
    codebook: Tensor,
    valid: Tensor | None = None,
    *,
    temperature: float,
    diversity_weight: float = 1.0,
) -> Tensor:
    """Do as `codebook_entropy_plain`; the formula stands at `codebook_entropy_loss`."""
    dtype = torch.promote_types(upcast(tokens[:0]).dtype, upcast(codebook[:0]).dtype)
    weight = tokens.new_ones(tokens.shape[0], dtype=dtype)
    if valid is not None:
        weight = valid.to(weight.dtype)
        tokens = torch.where(valid[:, None], tokens, 0.0)
    size = codebook.shape[0]
    totals = weight.new_zeros(size + 2)
    with full_precision(tokens):
        middle = codebook.detach().mean(dim=0)
        centred = codebook.to(dtype) - middle
        shifted = tokens.to(dtype) - middle
        rows = max(tuning.ENTROPY_SCORES // size, 1)
        whole = torch.compiler.is_compiling()  # a loop would fix the number of tokens
        # A rank without tokens has a piece, too: the others wait for it on the way back.
        starts = [0] if whole else range(0, max(weight.shape[0], 1), rows)
        for start in starts:
            end = None if whole else start + rows
            totals = totals + checkpoint(
                _soft_counts, shifted[start:end], centred, weight[start:end], temperature,
                use_reentrant=False, preserve_rng_state=False,
            )  # fmt: skip
        totals = sum_over_ranks(totals)
        count = totals[-1].clamp(min=1)
        mean = totals[:size] / count
        log_mean = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
        return totals[size] / count + diversity_weight * (mean * log_mean).sum()


def _soft_counts(tokens: Tensor, codebook: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """Return the sums over tokens of probabilities, of entropies and of weights, as one vector."""
    bias = codebook.square().sum(dim=1) / -temperature
    log_p = torch.addmm(bias, tokens, codebook.T, alpha=2 / temperature).log_softmax(dim=1)
    p = log_p.exp()
    entropy = -torch.where(p > 0, p * log_p, 0.0).sum(dim=1)
    return torch.cat([weight @ p, (weight @ entropy)[None], weight.sum()[None]])
