"""data2vec's target: the average of a teacher's last layers, each normalised first."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_number,
    check_same_shape,
)
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["normalize_over_tokens", "topk_layer_target"]

EPS = 1e-5  # added to the variance, as in torch's instance_norm, which data2vec's code calls


def normalize_over_tokens(tokens: Tensor, valid: Tensor | None = None) -> Tensor:
    r"""Give each feature of each series mean 0 and variance 1 over its tokens (instance norm).

    $$(x_{bid} - \mu_{bd}) / \sqrt{\sigma_{bd}^2 + 10^{-5}}$$

    Args:
        tokens: `(batch, tokens, dim)`.
        valid: Boolean `(batch, tokens)`, True where a token is real. The others are not read,
            count in no statistics and become 0. By default all are real.

    Returns:
        The normalised tokens, in at least float32.

    Raises:
        ValueError: If shapes or dtypes do not fit or are empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import normalize_over_tokens
        >>> normalize_over_tokens(torch.tensor([[[1.0], [3.0]]])).round(decimals=2)
        tensor([[[-1.],
                 [ 1.]]])

    References:
        Baevski et al., *data2vec*, 2022, <https://arxiv.org/abs/2202.03555>, section 3.3.
    """
    _check("normalize_over_tokens", tokens, valid)
    with full_precision(tokens):
        tokens = upcast(tokens)
        if valid is None:
            variance, mean = torch.var_mean(tokens, dim=1, correction=0, keepdim=True)
            return (tokens - mean) * (variance + EPS).rsqrt()
        padding = ~valid.unsqueeze(2)
        count = valid.sum(dim=1).clamp(min=1)[:, None, None]
        mean = tokens.masked_fill(padding, 0).sum(dim=1, keepdim=True) / count
        centered = (tokens - mean).masked_fill(padding, 0)
        variance = centered.square().sum(dim=1, keepdim=True) / count
        return centered * (variance + EPS).rsqrt()


def topk_layer_target(
    layers: Sequence[Tensor],
    valid: Tensor | None = None,
    *,
    top: int = 8,
    normalize: Callable[[Tensor, Tensor | None], Tensor] = normalize_over_tokens,
) -> Tensor:
    r"""Average the last layers of a teacher, each normalised: what data2vec's student predicts.

    $$y = \frac{1}{K} \sum_{l = L - K + 1}^{L} \mathrm{norm}(a^{(l)})$$

    The layers are what the MLP of each block adds, before the residual:
    `hidden_states(...).mlp` of a transformer without its prefix tokens, for the whole series,
    nothing masked. Without normalising, a few layers of large values would decide the target. No
    gradient flows through it. It goes to `latent_regression_loss` with the student's mask.

    Args:
        layers: One tensor for each layer, `(batch, tokens, dim)`, first layer first.
        valid: Boolean `(batch, tokens)`, True where a token is real; the target is 0 elsewhere. By
            default all are.
        top: $K$, how many of the last layers; 8 for speech and 6 for images in the paper.
        normalize: What is done to each layer, a function of the layer and `valid`. Instance norm
            is the paper's for speech. For images and text it has a layer norm:
            `lambda x, valid: torch.nn.functional.layer_norm(x, x.shape[-1:])`.

    Returns:
        The target, `(batch, tokens, dim)`, in at least float32.

    Raises:
        ValueError: If `top` is not in [1, number of layers], or shapes or dtypes do not fit.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import topk_layer_target
        >>> layers = [torch.tensor([[[v], [-v]]]) for v in (-7.0, 2.0, 5.0)]
        >>> topk_layer_target(layers, top=2).round(decimals=2)  # both say: first high, then low
        tensor([[[ 1.],
                 [-1.]]])

    References:
        Baevski et al., *data2vec*, 2022, <https://arxiv.org/abs/2202.03555>, section 3.3, and its
        code.
    """
    who = "topk_layer_target"
    check_number(who, "top", top)
    if not 1 <= top <= len(layers):
        raise ValueError(f"{who}: top must lie in [1, {len(layers)}] (layers); got {top}")
    chosen = layers[len(layers) - top :]
    for layer in chosen:
        _check(who, layer, valid)
        check_same_shape(who, "layers", layers[-1], layer)
    with torch.no_grad(), full_precision(chosen[0]):
        total = torch.zeros_like(upcast(chosen[0]))
        for layer in chosen:
            total += normalize(upcast(layer), valid)
        target = total / top
        return target if valid is None else target.masked_fill(~valid.unsqueeze(2), 0)


def _check(who: str, tokens: Tensor, valid: Tensor | None) -> None:
    check_axes(who, "tokens", tokens, "batch tokens dim")
    check_floating(who, "tokens", tokens)
    check_at_least(who, "tokens.numel()", tokens.numel(), 1)
    if valid is not None:
        check_bool_mask(who, "valid", valid, tokens.shape[:2])
