"""Which code is nearest, in pieces that a cache holds and without a loop in a compiled graph."""

import torch
from torch import Tensor

import ssltok.quantizers._tuning as tuning
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["nearest_codes_fast", "rows_at_once", "sample_codes_fast"]


def nearest_codes_fast(tokens: Tensor, codebook: Tensor) -> Tensor:
    """Do as `nearest_codes_plain`; the formula and its limits stand at `nearest_codes`."""
    if torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export():
        return _nearest_within(tokens, codebook, None)  # ONNX has no operations but its own
    if torch.compiler.is_compiling():
        codes: Tensor = _nearest_op(tokens.detach(), codebook.detach())
        return codes
    return _nearest(tokens, codebook)


@torch.no_grad()
def sample_codes_fast(
    tokens: Tensor,
    codebook: Tensor,
    *,
    temperature: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Do as `sample_codes_plain`; the formula stands at `sample_codes`. A piece draws its own."""
    wide, codes = codebook.double(), []
    middle = wide.mean(dim=0)
    wide = wide - middle
    bias = wide.square().sum(dim=1) / -temperature
    for part in tokens.split(rows_at_once(tokens, codebook.shape[0])):
        scores = torch.addmm(bias, part.double() - middle, wide.T, alpha=2 / temperature)
        race = torch.empty_like(scores).exponential_(generator=generator).log_()
        codes.append(scores.sub_(race).argmax(dim=1))
    return torch.cat(codes)


def rows_at_once(tokens: Tensor, codebook_size: int) -> int:
    """Return how many tokens are compared with all codes at once."""
    scores = tuning.NEAREST_SCORES.get(tokens.device.type, tuning.NEAREST_SCORES_ELSEWHERE)
    return max(scores // codebook_size, 16)


def _nearest(tokens: Tensor, codebook: Tensor) -> Tensor:
    return _nearest_within(tokens, codebook, rows_at_once(tokens, codebook.shape[0]))


@torch.no_grad()
def _nearest_within(tokens: Tensor, codebook: Tensor, rows: int | None) -> Tensor:
    """Search so many tokens at once; None searches all, however many."""
    dtype = torch.promote_types(upcast(tokens[:0]).dtype, codebook.dtype)
    tokens, codebook = tokens.to(dtype), codebook.to(dtype)
    size, block = codebook.shape[0], tuning.ARGMAX_BLOCK
    with full_precision(tokens):
        one, two, three = codebook[0], codebook[size // 2], codebook[-1]
        middle = torch.maximum(one.minimum(two), one.maximum(two).minimum(three))
        centred = codebook - middle
        if size > tuning.ARGMAX_CODES and size % block:  # whole blocks: repeat the last code
            centred = torch.cat([centred, centred[-1:].expand(-size % block, -1)])
        bias = centred.square().sum(dim=1).mul_(-0.5)
        codes = [
            _row_argmax(torch.addmm(bias, part - middle, centred.T))
            for part in ([tokens] if rows is None else tokens.split(rows))
        ]
    return torch.cat(codes).clamp(max=size - 1)


def _row_argmax(scores: Tensor) -> Tensor:
    """Find the first maximum of each row: first its block, by `amax`, which is vectorised."""
    (rows, size), block = scores.shape, tuning.ARGMAX_BLOCK
    if size <= tuning.ARGMAX_CODES:
        return scores.argmax(dim=1)
    blocks = scores.view(-1, block)
    best = blocks.amax(dim=1).view(rows, size // block).argmax(dim=1)
    starts = torch.arange(0, blocks.shape[0], size // block, device=scores.device)
    return best * block + blocks.index_select(0, starts + best).argmax(dim=1)


# In a compiled or exported graph the search is one opaque node: the loop over chunks is not
# unrolled, and the number of tokens may stay dynamic.
_nearest_op = torch.library.custom_op("ssltok::nearest_codes", _nearest, mutates_args=())
_nearest_op.register_fake(lambda tokens, _: tokens.new_empty(tokens.shape[0], dtype=torch.int64))
