"""Covariates of a series, and channels known at every time, as a context of its tokens."""

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_bool_mask, check_size

__all__ = ["ConditionEmbedding"]


class ConditionEmbedding(nn.Module):
    r"""Turn what is known of a series into a vector for each of its tokens.

    $$c_{ij} = f(a) + g(x_{\lfloor jL/n \rfloor}, \dots, x_{\lfloor jL/n \rfloor + w - 1}), \qquad
      w = \lceil L / n \rceil$$

    where $a$ are the covariates of the series, $x$ its known channels, $j$ the token's column of
    $n$, and $f$, $g$ two layers with a GELU between. The tokens of a column have the same vector,
    whatever their row $i$ of the grid; two columns may share a sample. A series whose conditions
    are not known has one learned vector instead, at all tokens, so that guidance has something to
    push away from: drop a share of the conditions in training.

    The result is a `context` of `TokenTransformer`: it is added to the normed embeddings of the
    tokens. Inputs should have a mean of about 0 and a variance of about 1.

    Args:
        dim: Features of the vectors.
        features: Covariates of a series; 0 for none.
        channels: Known channels; 0 for none.
        length: Samples of the known channels; 0 where there are none.
        grid: The axes of the tokens, time last, such as `(freq, frames)`.

    Raises:
        ValueError: If a size is out of range, there is neither a covariate nor a channel, channels
            come without a length, or an input is not as many as promised.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import ConditionEmbedding
        >>> embedding = ConditionEmbedding(16, features=2, channels=1, length=64, grid=(3, 8))
        >>> embedding(torch.randn(5, 2), torch.randn(5, 1, 64)).shape
        torch.Size([5, 24, 16])

    References:
        Ho and Salimans, *Classifier-free diffusion guidance*, 2022,
        <https://arxiv.org/abs/2207.12598>, section 3.2 (the learned null vector).
    """

    def __init__(
        self,
        dim: int,
        *,
        features: int = 0,
        channels: int = 0,
        length: int = 0,
        grid: Sequence[int],
    ) -> None:
        super().__init__()
        who = "ConditionEmbedding"
        check_at_least(who, "dim", dim, 1)
        for name, size in (("features", features), ("channels", channels), ("length", length)):
            check_at_least(who, name, size, 0)
        check_at_least(who, "axes of grid", len(grid), 1)
        check_at_least(who, "grid", min(grid), 1)
        if not features and not channels:
            raise ValueError(f"{who}: features or channels must be >= 1; got 0 and 0")
        if bool(channels) != bool(length):
            raise ValueError(
                f"{who}: channels and length must both be 0 or both not; "
                f"got {channels} and {length}"
            )
        self.dim, self.features, self.channels, self.length = dim, features, channels, length
        self.grid = tuple(grid)
        self.window = -(-length // self.grid[-1])
        self.of_features = _layers(features, dim) if features else None
        self.of_channels = _layers(channels * self.window, dim) if channels else None
        self.null = nn.Parameter(torch.empty(dim).normal_(std=0.02))

    def forward(
        self,
        covariates: Tensor | None = None,
        channels: Tensor | None = None,
        *,
        known: Tensor | None = None,
    ) -> Tensor:
        """Return the vectors, `(batch, tokens, dim)`, tokens in row-major order of the grid.

        Args:
            covariates: `(batch, features)`; None where the module has none.
            channels: `(batch, channels, length)`; None where the module has none. Give zeros beyond
                a series' end.
            known: Boolean `(batch,)`, False where the conditions are dropped, whose values then
                reach nothing; None is True for all.
        """
        self._check(covariates, channels, known)
        frames, rows = self.grid[-1], math.prod(self.grid[:-1])
        parts: list[Tensor] = []
        if self.of_features is not None and covariates is not None:
            parts.append(self.of_features(covariates)[:, None].expand(-1, frames, -1))
        if self.of_channels is not None and channels is not None:
            begins = torch.arange(frames, device=channels.device) * self.length // frames
            within = torch.arange(self.window, device=channels.device)
            index = (begins[:, None] + within).clamp(max=self.length - 1)
            patches = rearrange(
                channels[:, :, index],
                "batch channels frames window -> batch frames (channels window)",
            )
            parts.append(self.of_channels(patches))
        vectors = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        if known is not None:
            vectors = torch.where(known[:, None, None], vectors, self.null.to(vectors.dtype))
        return vectors.repeat(1, rows, 1)

    def _check(
        self, covariates: Tensor | None, channels: Tensor | None, known: Tensor | None
    ) -> None:
        who, batch = "ConditionEmbedding", -1
        for name, given, size, axes in (
            ("covariates", covariates, self.features, "batch features"),
            ("channels", channels, self.channels, "batch channels length"),
        ):
            if given is None:
                if size:
                    raise ValueError(f"{who}: {name} must be given, {size} of them; got None")
                continue
            check_axes(who, name, given, axes)
            check_size(who, name, given, 1, size)
            if batch >= 0 and len(given) != batch:
                raise ValueError(
                    f"{who}: covariates and channels must be of as many series; "
                    f"got {batch} and {len(given)}"
                )
            batch = len(given)
        if channels is not None:
            check_size(who, "channels", channels, 2, self.length)
        if known is not None:
            check_bool_mask(who, "known", known, (batch,))


def _layers(inputs: int, dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, dim), nn.GELU(), nn.Linear(dim, dim))
