"""What a quantizer can ask of latents and codebook: be near, be used evenly, be different."""

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_positive,
    check_same_shape,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok._shared.ranks import sum_over_ranks
from ssltok.quantizers._losses_fast import codebook_entropy_fast, orthogonality_fast
from ssltok.quantizers._nearest import check_tokens_and_codebook
from ssltok.quantizers._unit import unit_rows_plain

__all__ = [
    "codebook_entropy_loss",
    "codebook_entropy_plain",
    "commitment_loss",
    "orthogonality_loss",
    "orthogonality_plain",
]


def commitment_loss(latents: Tensor, quantized: Tensor, valid: Tensor | None = None) -> Tensor:
    r"""Pull the latents towards their codes; the codes are constants.

    $$\frac{1}{N D} \sum_{n} \lVert x_n - \mathrm{sg}(q_n) \rVert^2$$

    over the real positions: the mean over tokens and channels, as in the authors' code (the paper
    writes a sum). With the arguments exchanged it is the codebook term of VQ-VAE.

    Args:
        latents: $x$, `(..., dim)`, floating point.
        quantized: $q$, the same shape.
        valid: `(...)`, boolean, True is real; None: all are.

    Returns:
        The loss, a scalar in float32 or float64; 0 where nothing is real.

    Raises:
        TypeError: If an argument is no tensor.
        ValueError: If shapes differ, or a dtype is another.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import commitment_loss
        >>> x, q = torch.tensor([[1.0, 2.0], [9.0, 9.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
        >>> commitment_loss(x, q, torch.tensor([True, False]))
        tensor(2.)

    References:
        van den Oord et al., *Neural discrete representation learning*, 2017,
        <https://arxiv.org/abs/1711.00937>, equation 3.
    """
    check_floating("commitment_loss", "latents", latents)
    check_floating("commitment_loss", "quantized", quantized)
    check_same_shape("commitment_loss", "latents and quantized", latents, quantized)
    if valid is not None:
        check_bool_mask("commitment_loss", "valid", valid, latents.shape[:-1])
    difference = upcast(latents) - upcast(quantized.detach())
    if valid is None:
        return difference.square().sum() / max(difference.numel(), 1)
    count = (valid.sum() * latents.shape[-1]).clamp(min=1)
    # before the square: its slope at NaN is NaN, also where nothing asks for it
    return torch.where(valid[..., None], difference, 0.0).square().sum() / count


def codebook_entropy_loss(
    tokens: Tensor,
    codebook: Tensor,
    valid: Tensor | None = None,
    *,
    temperature: float,
    diversity_weight: float = 1.0,
) -> Tensor:
    r"""Ask each token to be sure of its code, and all tokens together to use all codes.

    $$\frac{1}{N} \sum_n H(p_n) - \gamma\, H\Big(\frac{1}{N} \sum_n p_n\Big), \qquad
      p_{nk} \propto \exp(-\lVert x_n - e_k \rVert^2 / \tau)$$

    in nats, over the real tokens of all processes. Its gradient reaches tokens and codebook. The
    probabilities are computed in chunks, and again in the backward pass: no
    `tokens x codebook_size` matrix is kept. A compiled or exported graph, whose number of tokens
    may be free, computes them in one piece.

    Args:
        tokens: $x$, `(tokens, dim)`, floating point.
        codebook: $e$, `(codebook_size, dim)`, floating point.
        valid: `(tokens,)`, boolean, True is real; None: all are.
        temperature: $\tau > 0$, in squared units of the tokens. The authors use 0.01 with
            distances between vectors of about unit length.
        diversity_weight: $\gamma$.

    Returns:
        The loss, a scalar in $[-\gamma \log K, \log K]$; 0 where nothing is real.

    Raises:
        TypeError: If an argument is no tensor.
        ValueError: If shapes or dtypes are others, the codebook is empty, `temperature <= 0` or
            `diversity_weight < 0`.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import codebook_entropy_loss
        >>> codebook = torch.tensor([[0.0], [10.0]])  # sure, and both used: 0 - log 2
        >>> codebook_entropy_loss(torch.tensor([[0.0], [10.0]]), codebook, temperature=0.1)
        tensor(-0.6931)

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200> (the entropy loss of the
        authors' tokenizer); Jansen et al., *Coincidence, categorization, and consolidation*,
        2019, <https://arxiv.org/abs/1911.05894>, section 3.
    """
    who = "codebook_entropy_loss"
    check_tokens_and_codebook(who, tokens, codebook)
    check_positive(who, "temperature", temperature)
    check_at_least(who, "diversity_weight", diversity_weight, 0)
    if valid is not None:
        check_bool_mask(who, "valid", valid, tokens.shape[:1])
    return codebook_entropy_fast(
        tokens, codebook, valid, temperature=temperature, diversity_weight=diversity_weight
    )


def codebook_entropy_plain(
    tokens: Tensor,
    codebook: Tensor,
    valid: Tensor | None = None,
    *,
    temperature: float,
    diversity_weight: float = 1.0,
) -> Tensor:
    """Return `codebook_entropy_loss` by its formula, all probabilities at once."""
    dtype = torch.promote_types(upcast(tokens[:0]).dtype, upcast(codebook[:0]).dtype)
    weight = tokens.new_ones(len(tokens)) if valid is None else valid
    if valid is not None:
        tokens = torch.where(valid[:, None], tokens, 0.0)  # NaN * 0 is NaN
    apart = (tokens.to(dtype).unsqueeze(1) - codebook.to(dtype)).square().sum(dim=2)
    log_p = (apart / -temperature).log_softmax(dim=1)
    count = sum_over_ranks(weight.to(dtype).sum()).clamp(min=1)
    entropy = sum_over_ranks(weight.to(dtype) @ -(log_p.exp() * log_p).sum(dim=1)) / count
    mean = sum_over_ranks(weight.to(dtype) @ log_p.exp()) / count
    log_mean = mean.clamp(min=torch.finfo(dtype).tiny).log()
    return entropy + diversity_weight * (mean * log_mean).sum()


def orthogonality_loss(codebook: Tensor) -> Tensor:
    r"""Push different codes apart in angle.

    $$\frac{1}{K^2} \lVert \hat E \hat E^\top - I \rVert_F^2, \qquad
      \hat E_k = e_k / \lVert e_k \rVert$$

    With many more codes than dimensions the `codebook_size x codebook_size` matrix is not built.

    Args:
        codebook: $E$, `(codebook_size, dim)`, floating point. With gradients enabled it must
            require one: a loss cannot move a codebook that is a buffer, as that of
            `EMAVectorQuantizer`. Under `torch.no_grad` any codebook can be measured.

    Returns:
        The loss, a scalar in [0, 1) for codes other than 0.

    Raises:
        TypeError: If `codebook` is no tensor.
        ValueError: If it is empty or not `(codebook_size, dim)` and floating point, or does not
            require a gradient while gradients are enabled.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import orthogonality_loss
        >>> codebook = torch.tensor([[3.0, 0.0], [0.0, 1.0], [1.0, 0.0]], requires_grad=True)
        >>> round(9 * orthogonality_loss(codebook).item(), 5)  # one pair of equal direction, twice
        2.0

    References:
        Shin et al., *Translation-equivariant image quantizer for bi-directional image-text
        generation*, 2021, <https://arxiv.org/abs/2112.00384>, equation 2.
    """
    check_floating("orthogonality_loss", "codebook", codebook)
    check_axes("orthogonality_loss", "codebook", codebook, "codebook_size dim")
    size, dim = codebook.shape
    if size * dim == 0:
        raise ValueError(f"orthogonality_loss: codebook must not be empty; got {(size, dim)}")
    if torch.is_grad_enabled() and not codebook.requires_grad:
        raise ValueError(
            "orthogonality_loss: codebook must require a gradient, or the loss has no effect; "
            "got a tensor that does not (the codebook of an EMA quantizer is a buffer)"
        )
    return orthogonality_fast(codebook)


def orthogonality_plain(codebook: Tensor) -> Tensor:
    """Return `orthogonality_loss` by its formula: the angles of all pairs of codes."""
    with full_precision(codebook):
        unit = unit_rows_plain(upcast(codebook))
        gram = unit @ unit.T
        identity = torch.eye(len(unit), dtype=gram.dtype, device=gram.device)
        return (gram - identity).square().mean()
