"""The entropy of codes in pieces: no matrix of tokens by codes is kept for the way back."""

from typing import Any

import torch
from torch import Tensor

import ssltok.quantizers._tuning as tuning
from ssltok._shared.numerics import full_precision, upcast
from ssltok._shared.ranks import sum_over_ranks
from ssltok._shared.transforms import QuickFunction
from ssltok.quantizers._unit import unit_rows_plain

__all__ = ["codebook_entropy_fast", "orthogonality_fast"]


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
    with full_precision(tokens):
        middle = codebook.detach().mean(dim=0)
        centred = codebook.to(dtype) - middle
        shifted = tokens.to(dtype) - middle
        function: Any = _SoftCounts if torch.compiler.is_compiling() else _SoftCountsForward
        totals: Tensor = function.apply(shifted, centred, weight, temperature)
        totals = sum_over_ranks(totals)
        count = totals[-1].clamp(min=1)
        mean = totals[:size] / count
        log_mean = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
        return totals[size] / count + diversity_weight * (mean * log_mean).sum()


def orthogonality_fast(codebook: Tensor) -> Tensor:
    r"""Do as `orthogonality_plain`, by $\hat E^\top \hat E$ where there are more codes than dims.

    $$\lVert \hat E \hat E^\top - I \rVert^2 = \lVert \hat E^\top \hat E \rVert^2
      - 2 \lVert \hat E \rVert^2 + K$$
    """
    size, dim = codebook.shape
    with full_precision(codebook):
        unit = unit_rows_plain(upcast(codebook))
        if size > 2 * dim:
            gram, trace = unit.T @ unit, unit.square().sum()
            return (gram.square().sum() - 2 * trace + size) / size**2
        gram = unit @ unit.T
        return (gram - torch.eye(size, dtype=gram.dtype, device=gram.device)).square().mean()


def _rows_at_once(tokens: Tensor, codebook: Tensor) -> int:
    if torch.compiler.is_compiling():  # a loop would fix the number of tokens
        return tokens.shape[0]
    return max(tuning.ENTROPY_SCORES // codebook.shape[0], 1)


class _SoftCounts(torch.autograd.Function):
    """Sums over tokens of probabilities, of entropies and of weights, as one vector.

    The probabilities are computed again on the way back.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(tokens: Tensor, codebook: Tensor, weight: Tensor, temperature: float) -> Tensor:
        totals = tokens.new_zeros(codebook.shape[0] + 2)
        rows = _rows_at_once(tokens, codebook)
        for part, share in zip(tokens.split(rows), weight.split(rows), strict=True):
            log_p = _log_p(part, codebook, temperature)
            p = log_p.exp()
            entropy = -torch.where(p > 0, p * log_p, 0.0).sum(dim=1)
            sums = [share @ p, (share @ entropy)[None], share.sum()[None]]
            totals = totals + torch.cat(sums)
        return totals

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.temperature = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tokens, codebook, weight = ctx.saved_tensors
        # In one piece where a second derivative is wanted: all of it is needed again.
        rows = max(tokens.shape[0], 1)
        if not torch.is_grad_enabled():
            rows = _rows_at_once(tokens, codebook)
        to_tokens, to_codebook = [], torch.zeros_like(codebook)
        for part, share in zip(tokens.split(rows), weight.split(rows), strict=True):
            log_p = _log_p(part, codebook, ctx.temperature)
            p = log_p.exp()
            each = grad[:-2] - grad[-2] * log_p
            pull = p * (each - (p * each).sum(dim=1, keepdim=True)) * share[:, None]
            pull = pull * (2 / ctx.temperature)
            to_tokens.append(pull @ codebook)
            to_codebook = to_codebook + pull.T @ part - pull.sum(dim=0)[:, None] * codebook
        return torch.cat(to_tokens), to_codebook, None, None


class _SoftCountsForward(QuickFunction, _SoftCounts):
    """With a forward derivative, which compilers refuse: they get the class itself."""

    @staticmethod
    def jvp(
        ctx: Any, tokens_tangent: Tensor | None, codebook_tangent: Tensor | None, *_: Any
    ) -> Tensor:
        tokens, codebook, weight = ctx.saved_tensors
        log_p = _log_p(tokens, codebook, ctx.temperature)
        change = torch.zeros_like(log_p)
        if tokens_tangent is not None:
            change = change + tokens_tangent @ codebook.T
        if codebook_tangent is not None:
            offset = (codebook * codebook_tangent).sum(dim=1)
            change = change + tokens @ codebook_tangent.T - offset
        change = change * (2 / ctx.temperature)
        p = log_p.exp()
        moved = p * (change - (p * change).sum(dim=1, keepdim=True))
        entropy = -(weight @ (moved * log_p).sum(dim=1))
        return torch.cat([weight @ moved, entropy[None], weight.new_zeros(1)])


def _log_p(tokens: Tensor, codebook: Tensor, temperature: float) -> Tensor:
    bias = codebook.square().sum(dim=1) / -temperature
    return torch.addmm(bias, tokens, codebook.T, alpha=2 / temperature).log_softmax(dim=1)
