"""One vector for a whole grid or series: means, maxima or a learned average of the real places."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_bool_mask, check_floating, check_integer
from ssltok._shared.numerics import full_precision, upcast
from ssltok.nn._channel_axis import channel_axis

__all__ = ["AttentionPool", "AverageMaxPool", "average_max_pool", "max_pool", "mean_pool"]


def mean_pool(
    latents: Tensor, valid: Tensor | None = None, *, channel_dim: int | None = None
) -> Tensor:
    """Average the vectors of the real places.

    Args:
        latents: Vectors at places of any number of axes: `(batch, dim, tokens)` from a
            convolution over series, `(batch, dim, freq, frames)` from one over spectrograms,
            `(batch, tokens, dim)` with `channel_dim=-1` from a transformer.
        valid: Boolean, the shape of `latents` without its channels: True where a place is real.
            What stands elsewhere is not read, NaN included. By default all are real.
        channel_dim: The axis of the features, not 0. By default 1 where that can be told: there
            are four axes or more, or `valid` fits no other. Convolutions and transformers both
            return three, `(batch, dim, tokens)` and `(batch, tokens, dim)`: say which.

    Returns:
        `(batch, dim)`; zeros where nothing is real.

    Raises:
        ValueError: If `latents` is not floating point, has fewer than three axes or is empty, or
            the other arguments do not fit it.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import mean_pool
        >>> mean_pool(torch.tensor([[[1.0, 2.0, 9.0]]]), torch.tensor([[True, True, False]]))
        tensor([[1.5000]])
        >>> mean_pool(torch.tensor([[[1.0, 2.0, 9.0]]]), channel_dim=1)
        tensor([[4.]])
    """
    return _mean(*_checked("mean_pool", latents, valid, channel_dim))


def max_pool(
    latents: Tensor, valid: Tensor | None = None, *, channel_dim: int | None = None
) -> Tensor:
    """Take each feature's maximum over the real places; ties share its gradient equally.

    TS2Vec represents a whole series so, by the maximum over its time steps.

    Args:
        latents: As for `mean_pool`.
        valid: As for `mean_pool`.
        channel_dim: As for `mean_pool`.

    Returns:
        `(batch, dim)`; zeros where nothing is real.

    Raises:
        ValueError: As `mean_pool`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import max_pool
        >>> max_pool(torch.tensor([[[1.0, 2.0, 9.0]]]), torch.tensor([[True, True, False]]))
        tensor([[2.]])
    """
    return _max(*_checked("max_pool", latents, valid, channel_dim))


def average_max_pool(
    latents: Tensor, valid: Tensor | None = None, *, channel_dim: int | None = None
) -> Tensor:
    """Pool into mean and maximum over the real places, side by side.

    NC-VQVAE compares two views by this vector. The maximum's gradient is shared equally among
    ties.

    Args:
        latents: As for `mean_pool`.
        valid: As for `mean_pool`.
        channel_dim: As for `mean_pool`.

    Returns:
        `(batch, 2 * dim)`: the means first, then the maxima; zeros where nothing is real.

    Raises:
        ValueError: As `mean_pool`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import average_max_pool
        >>> average_max_pool(torch.tensor([[[[1.0, 2.0, 6.0]], [[0.0, -3.0, 0.0]]]]))
        tensor([[ 3., -1.,  6.,  0.]])

    References:
        Mathisen et al., *NC-VQVAE*, 2024, <https://arxiv.org/abs/2408.16613>, and its code.
    """
    latents, valid = _checked("average_max_pool", latents, valid, channel_dim)
    return torch.cat([_mean(latents, valid), _max(latents, valid)], dim=1)


class AverageMaxPool(nn.Module):
    """`average_max_pool` as a module; see there."""

    def __init__(self, *, channel_dim: int | None = None) -> None:
        super().__init__()
        if channel_dim is not None:
            check_integer("AverageMaxPool", "channel_dim", channel_dim)
        self.channel_dim = channel_dim

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Pool latents as of `mean_pool` into `(batch, 2 * dim)`."""
        return average_max_pool(latents, valid, channel_dim=self.channel_dim)


class AttentionPool(nn.Module):
    r"""Average the vectors of the real places with learned weights.

    $$z = \sum_k a_k h_k, \qquad a_k \propto \exp\bigl(w^\top \tanh(V h_k)\bigr)$$

    The weights are a softmax over the real places; $w$ starts at 0, so that the first average is
    the plain one. Weights are computed in float32 or better.

    Args:
        dim: Features of a vector.
        hidden_dim: Rows of $V$. The paper uses 128 for 512 features.
        channel_dim: As for `mean_pool`: 1 after a convolution, -1 after a transformer.

    Raises:
        ValueError: If a size is smaller than 1, or the input is not as for `mean_pool`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import AttentionPool
        >>> AttentionPool(1, hidden_dim=4, channel_dim=1)(torch.tensor([[[2.0, 2.0, 5.0]]]))
        tensor([[3.]], grad_fn=<SqueezeBackward1>)

    References:
        Ilse et al., *Attention-based deep multiple instance learning*, 2018,
        <https://arxiv.org/abs/1802.04712>, equations 7 and 8.
    """

    def __init__(self, dim: int, *, hidden_dim: int, channel_dim: int | None = None) -> None:
        super().__init__()
        check_at_least("AttentionPool", "dim", dim, 1)
        check_at_least("AttentionPool", "hidden_dim", hidden_dim, 1)
        if channel_dim is not None:
            check_integer("AttentionPool", "channel_dim", channel_dim)
        self.dim, self.hidden_dim, self.channel_dim = dim, hidden_dim, channel_dim
        self.inward = nn.Linear(dim, hidden_dim, bias=False)
        self.score = nn.Linear(hidden_dim, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Pool latents as of `mean_pool` into `(batch, dim)`; zeros where nothing is real."""
        latents, valid = _checked("AttentionPool", latents, valid, self.channel_dim)
        if latents.shape[1] != self.inward.in_features:
            raise ValueError(
                f"AttentionPool: features must be {self.inward.in_features}; got {latents.shape[1]}"
            )
        if valid is not None:
            latents = latents.masked_fill(~valid[:, None], 0)
        scores = self.score(self.inward(latents.mT).tanh()).squeeze(-1)
        with full_precision(latents):
            scores = upcast(scores)
            if valid is not None:  # a row without any real place: no empty softmax
                scores = scores.masked_fill(~valid & valid.any(1, keepdim=True), -torch.inf)
            weights = scores.softmax(1).unsqueeze(-1)
            return (upcast(latents) @ weights).squeeze(-1).to(latents.dtype)


def _checked(
    who: str, latents: Tensor, valid: Tensor | None, channel_dim: int | None
) -> tuple[Tensor, Tensor | None]:
    """Check, and return `(batch, dim, places)` and `(batch, places)`."""
    check_floating(who, "latents", latents)
    check_at_least(who, "axes of latents", latents.ndim, 3)
    if channel_dim is None:
        if latents.ndim == 3 and (valid is None or latents.shape[1] == latents.shape[2]):
            raise ValueError(
                f"{who}: channel_dim must be given for latents of three axes, 1 or -1 (without a "
                f"valid that fits one alone); got None for shape {tuple(latents.shape)}"
            )
        channel_dim = 1
    channel_dim = channel_axis(who, "latents", latents, channel_dim)
    check_at_least(who, "elements", latents.numel(), 1)
    latents = latents.movedim(channel_dim, 1)
    if valid is not None:
        check_bool_mask(who, "valid", valid, (latents.shape[0], *latents.shape[2:]))
        valid = valid.flatten(1)
    return latents.flatten(2), valid


def _mean(latents: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return latents.mean(dim=2)
    total = latents.masked_fill(~valid[:, None], 0).sum(
        dim=2, dtype=torch.promote_types(latents.dtype, torch.float32)
    )
    return (total / valid.sum(dim=1, keepdim=True).clamp(min=1)).to(latents.dtype)


def _max(latents: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return latents.amax(dim=2)
    largest = latents.masked_fill(~valid[:, None], -torch.inf).amax(dim=2)
    return largest.masked_fill(~valid.any(dim=1, keepdim=True), 0)
