"""Which code is nearest: the one search that k-means, training and encoding share."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_axes, check_floating, check_positive, check_size
from ssltok._shared.numerics import upcast
from ssltok.quantizers._nearest_fast import nearest_codes_fast, sample_codes_fast

__all__ = [
    "check_tokens_and_codebook",
    "nearest_codes",
    "nearest_codes_plain",
    "sample_codes",
    "sample_codes_plain",
]


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
    return nearest_codes_fast(tokens, codebook)


@torch.no_grad()
def nearest_codes_plain(tokens: Tensor, codebook: Tensor) -> Tensor:
    r"""Return $\arg\min_k \lVert x_n - e_k \rVert^2$ by the formula, all differences at once."""
    dtype = torch.promote_types(upcast(tokens[:0]).dtype, codebook.dtype)
    difference = tokens.to(dtype).unsqueeze(1) - codebook.to(dtype)
    return difference.square().sum(dim=2).argmin(dim=1)


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
    return sample_codes_fast(tokens, codebook, temperature=temperature, generator=generator)


@torch.no_grad()
def sample_codes_plain(
    tokens: Tensor,
    codebook: Tensor,
    *,
    temperature: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return $\arg\max_k \log p(k \mid x) - \log E_k$ with $E_k \sim \mathrm{Exp}(1)$, at once."""
    difference = tokens.double().unsqueeze(1) - codebook.double()
    scores = difference.square().sum(dim=2) / -temperature
    race = torch.empty_like(scores).exponential_(generator=generator)
    return (scores - race.log()).argmax(dim=1)


def check_tokens_and_codebook(who: str, tokens: Tensor, codebook: Tensor) -> None:
    """Ask for `(tokens, dim)` and a `(codebook_size, dim)` that holds at least one code."""
    check_floating(who, "tokens", tokens)
    check_axes(who, "tokens", tokens, "tokens dim")
    check_floating(who, "codebook", codebook)
    check_axes(who, "codebook", codebook, "codebook_size dim")
    check_size(who, "tokens", tokens, 1, codebook.shape[1])
    if codebook.numel() == 0:
        raise ValueError(f"{who}: codebook must not be empty; got shape {tuple(codebook.shape)}")
