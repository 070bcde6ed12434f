"""Beam search: the codes of all levels together, not one level after the other."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok.quantizers._nearest import check_tokens_and_codebook
from ssltok.quantizers._nearest_fast import rows_at_once

__all__ = ["beam_codes", "beam_prefixes"]


def beam_codes(tokens: Tensor, codebooks: Sequence[Tensor], *, beams: int) -> Tensor:
    r"""Find codes of several levels whose vectors add up close to each token.

    $$\min_{k_1, \dots, k_Q} \Big\lVert x - \sum_i e^{(i)}_{k_i} \Big\rVert^2$$

    by keeping the `beams` best sums of each level. One beam is the usual choice, level by level.
    As many beams as there are combinations before the last level find the exact minimum. It costs
    `beams` searches at each level after the first. There is no gradient.

    `vector-quantize-pytorch` ranks beams by the errors of all levels added up; this ranks them by
    the error that is left, which is what the code in the end has.

    Args:
        tokens: $x$, `(tokens, dim)`, floating point.
        codebooks: $e^{(i)}$, `(codebook_size, dim)` for each level, scaled as they are added.
        beams: How many sums are kept.

    Returns:
        Codes, `(tokens, levels)` int64.

    Raises:
        TypeError: If an argument is no tensor.
        ValueError: If shapes or dtypes are others, there is no level, or `beams < 1`.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import beam_codes
        >>> first, second = torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0], [2.0]])
        >>> x = torch.tensor([[1.9]])
        >>> beam_codes(x, [first, second], beams=1), beam_codes(x, [first, second], beams=2)
        (tensor([[1, 0]]), tensor([[0, 1]]))

    References:
        Babenko and Lempitsky, *Additive Quantization for Extreme Vector Compression*, 2014,
        section 3 (beam search); `beam_size` of `vector-quantize-pytorch`.
    """
    check_at_least("beam_codes", "number of codebooks", len(codebooks), 1)
    check_at_least("beam_codes", "beams", beams, 1)
    for codebook in codebooks:
        check_tokens_and_codebook("beam_codes", tokens, codebook)
    return beam_prefixes(tokens, codebooks, beams=beams)[-1]


@torch.no_grad()
def beam_prefixes(tokens: Tensor, codebooks: Sequence[Tensor], *, beams: int) -> list[Tensor]:
    """Return the best codes of the first level, of the first two, and so on."""
    widest = max(codebook.shape[0] for codebook in codebooks) * beams
    parts = [_search(part, codebooks, beams) for part in tokens.split(rows_at_once(tokens, widest))]
    return [torch.cat(level) for level in zip(*parts, strict=True)]


def _search(tokens: Tensor, codebooks: Sequence[Tensor], beams: int) -> list[Tensor]:
    dtype = torch.promote_types(tokens.dtype, torch.float32)
    rest = tokens.to(dtype).unsqueeze(1)  # (tokens, beams, dim)
    codes = torch.empty(len(tokens), 1, 0, dtype=torch.int64, device=tokens.device)
    best = []
    for codebook in codebooks:
        book = codebook.to(dtype)
        size, middle = book.shape[0], book.mean(dim=0)
        shifted, centred = rest - middle, book - middle
        score = centred.square().sum(dim=1) - 2 * shifted @ centred.T
        score = (score + shifted.square().sum(dim=2, keepdim=True)).flatten(1)
        chosen = score.topk(min(beams, score.shape[1]), dim=1, largest=False).indices
        before, code = chosen // size, chosen % size
        rest = rest.take_along_dim(before[..., None], dim=1) - book[code]
        codes = codes.take_along_dim(before[..., None], dim=1)
        codes = torch.cat([codes, code[..., None]], dim=2)
        best.append(codes[:, 0])
    return best
