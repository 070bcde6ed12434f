"""Which code is nearest: the one search that k-means, training and encoding share."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_axes, check_floating, check_positive, check_size
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["check_tokens_and_codebook", "nearest_codes", "sample_codes"]

SCORES = {"cpu": 2**19}
"""Scores held at once: what stays in a core's cache; elsewhere what keeps the device busy."""
MANY = 2**26
FEW, BLOCK = 128, 64
"""Up to `FEW` codes, a plain argmax is fastest; beyond, `_row_argmax` looks at blocks of codes."""


def nearest_codes(tokens: Tensor, codebook: Tensor) -> Tensor:
    r"""Find the nearest codebook vector of each token.

    $$k_n = \arg\min_k \lVert x_n - e_k \rVert^2 = \arg\max_k \;
      \langle x_n - \mu, e_k - \mu \rangle - \tfrac12 \lVert e_k - \mu \rVert^2$$

    with $\mu$ a point amid the codes, without which float32 loses the answer far from the origin:
    the median of three codes (first, middle, last), by channel, which one code far away does not
    move. All codes are searched. Two codes can be confused where their scores differ by less than
    rounding: in float32, by $10^{-7}$ of $|x_n - \mu| |e_k - \mu|$. Scores are at least float32
    whatever autocast says, and are computed in chunks, so that no `tokens x codebook_size` matrix
    exists. Equal scores go to the lowest code (of two equal vectors either may be found: their
    scores can differ in the last bit). There is no gradient.

    With unit vectors in `codebook` it is the search by cosine similarity, for tokens that are not
    far shorter than they: at a length of $10^{-6}$ rounding hides the tokens.

    Args:
        tokens: `(tokens, dim)`, floating point.
        codebook: `(codebook_size, dim)`, floating point.

    Returns:
        Codes, `(tokens,)` int64.

    Raises:
        TypeError: If an argument is no tensor.
        ValueError: If the shapes or dtypes are others, or the codebook is empty.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import nearest_codes
        >>> codebook = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])
        >>> nearest_codes(torch.tensor([[3.0, 1.0], [1.0, 2.0], [1.0, 0.0]]), codebook)
        tensor([1, 2, 0])
    """
    check_tokens_and_codebook("nearest_codes", tokens, codebook)
    if torch.compiler.is_compiling():
        found: Tensor = _nearest_op(tokens.detach(), codebook.detach())
        return found
    return _nearest(tokens, codebook)


@torch.no_grad()
def sample_codes(
    tokens: Tensor,
    codebook: Tensor,
    *,
    temperature: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Draw a code for each token, near codes more often than far ones.

    $$p(k \mid x) \propto \exp(-\lVert x - e_k \rVert^2 / \tau)$$

    by an exponential race in float64, which has the exact probabilities. As
    `search=partial(sample_codes, temperature=...)` it makes a quantizer draw its codes in
    training; `encode` and evaluation stay with the nearest code.

    Args:
        tokens: `(tokens, dim)`, floating point.
        codebook: `(codebook_size, dim)`, floating point.
        temperature: $\tau > 0$, in squared units of the tokens; towards 0 it is `nearest_codes`.
        generator: Source of randomness, on the device of `tokens`. Activation checkpointing draws
            twice and restores torch's own source alone: there leave it out, or the gradients are
            those of other codes.

    Returns:
        Codes, `(tokens,)` int64.

    Raises:
        TypeError: If an argument is no tensor.
        ValueError: If the shapes or dtypes are others, the codebook is empty or
            `temperature <= 0`.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import sample_codes
        >>> far_apart = torch.tensor([[0.0], [100.0]])
        >>> sample_codes(torch.tensor([[1.0], [99.0]]), far_apart, temperature=1.0)
        tensor([0, 1])

    References:
        Lee et al., *Autoregressive image generation using residual quantization*, 2022,
        <https://arxiv.org/abs/2203.01941>, section 3.2.2 (stochastic sampling of codes).
    """
    check_tokens_and_codebook("sample_codes", tokens, codebook)
    check_positive("sample_codes", "temperature", temperature)
    wide, codes = codebook.double(), tokens.new_empty(tokens.shape[0], dtype=torch.int64)
    middle = wide.mean(dim=0)
    wide = wide - middle
    bias = wide.square().sum(dim=1) / -temperature
    rows = _chunk_rows(tokens, codebook.shape[0])
    for start in range(0, tokens.shape[0], rows):
        part = tokens[start : start + rows].double() - middle
        scores = torch.addmm(bias, part, wide.T, alpha=2 / temperature)
        race = torch.empty_like(scores).exponential_(generator=generator).log_()
        codes[start : start + rows] = scores.sub_(race).argmax(dim=1)
    return codes


def check_tokens_and_codebook(who: str, tokens: Tensor, codebook: Tensor) -> None:
    """Ask for `(tokens, dim)` and a `(codebook_size, dim)` that holds at least one code."""
    check_floating(who, "tokens", tokens)
    check_axes(who, "tokens", tokens, "tokens dim")
    check_floating(who, "codebook", codebook)
    check_axes(who, "codebook", codebook, "codebook_size dim")
    check_size(who, "tokens", tokens, 1, codebook.shape[1])
    if codebook.numel() == 0:
        raise ValueError(f"{who}: codebook must not be empty; got shape {tuple(codebook.shape)}")


def _chunk_rows(tokens: Tensor, codebook_size: int) -> int:
    return max(SCORES.get(tokens.device.type, MANY) // codebook_size, 16)


@torch.no_grad()
def _nearest(tokens: Tensor, codebook: Tensor) -> Tensor:
    dtype = torch.promote_types(upcast(tokens[:0]).dtype, codebook.dtype)
    tokens, codebook = tokens.to(dtype), codebook.to(dtype)
    size = codebook.shape[0]
    with full_precision(tokens):
        one, two, three = codebook[0], codebook[size // 2], codebook[-1]
        middle = torch.maximum(one.minimum(two), one.maximum(two).minimum(three))
        centred = codebook - middle
        if size > FEW and size % BLOCK:  # whole blocks: repeat the last code
            centred = torch.cat([centred, centred[-1:].expand(-size % BLOCK, -1)])
        bias = centred.square().sum(dim=1).mul_(-0.5)
        codes = tokens.new_empty(tokens.shape[0], dtype=torch.int64)
        rows = _chunk_rows(tokens, size)
        for start in range(0, tokens.shape[0], rows):
            part = tokens[start : start + rows] - middle
            codes[start : start + rows] = _row_argmax(torch.addmm(bias, part, centred.T))
    return codes.clamp_(max=size - 1)


def _row_argmax(scores: Tensor) -> Tensor:
    """Find the first maximum of each row: first its block, by `amax`, which is vectorised."""
    rows, size = scores.shape
    if size <= FEW:
        return scores.argmax(dim=1)
    blocks = scores.view(-1, BLOCK)
    best = blocks.amax(dim=1).view(rows, -1).argmax(dim=1)
    starts = torch.arange(0, blocks.shape[0], size // BLOCK, device=scores.device)
    return best * BLOCK + blocks.index_select(0, starts + best).argmax(dim=1)


# In a compiled or exported graph the search is one opaque node: the loop over chunks is not
# unrolled, and the number of tokens may stay dynamic.
_nearest_op = torch.library.custom_op("ssltok::nearest_codes", _nearest, mutates_args=())
_nearest_op.register_fake(lambda tokens, _: tokens.new_empty(tokens.shape[0], dtype=torch.int64))
