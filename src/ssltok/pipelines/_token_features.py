"""A tokenizer as the encoder of an objective: what is compared between views, or hidden."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ssltok.pipelines._tokenizer import Tokenizer

__all__ = ["TokenFeatures"]

Pool = Callable[[Tensor, Tensor | None], Tensor]
"""From vectors `(rows, dim, *grid)` and which are real to `(rows, features)`."""


class TokenFeatures(nn.Module):
    """Features of scaled series by a tokenizer that is being trained, for an objective.

    With a `pool`, one vector a series: the pooled vectors of the branches side by side, and of the
    channels where tokens are channel by channel. Without, one vector a token, in the order of the
    codes. It has what objectives ask of an encoder (`ssltok.training.Objective`).

    Args:
        tokenizer: The tokenizer; it is no copy, it learns.
        pool: From vectors and which are real to features, such as `average_max_pool`; None gives
            the tokens.
        quantized: Whether to give code vectors, with the quantizer's gradient, or the latents.

    Attributes:
        frames: Places along time, for objectives that hide some; 0 where branches differ in them.
        begins: Sample at which each place begins, `(frames,)`; see `Branch.begins`.
        rows: Tokens for each place.

    Raises:
        ValueError: Without a `pool`, if branches differ in `dim`; `visible` and `masked` raise it
            where there is one, or where branches differ in their places.

    Example:
        >>> import torch
        >>> from ssltok.nn import average_max_pool
        >>> from ssltok.pipelines import TokenFeatures, TokenizerConfig, build_tokenizer
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> pooled = TokenFeatures(tokenizer, pool=average_max_pool)
        >>> tokens = TokenFeatures(tokenizer)
        >>> pooled(torch.zeros(5, 1, 32)).shape, tokens(torch.zeros(5, 1, 32)).shape
        (torch.Size([5, 8]), torch.Size([5, 40, 4]))
        >>> pooled.dim, tokens.dim, tokens.rows, tokens.frames
        (8, 4, 5, 8)
    """

    def __init__(
        self, tokenizer: Tokenizer, *, pool: Pool | None = None, quantized: bool = False
    ) -> None:
        super().__init__()
        dims = [branch.dim for branch in tokenizer.parts]
        if pool is None and len(set(dims)) > 1:
            raise ValueError(
                f"TokenFeatures: branches must share dim to give tokens; got {dims}; pool them"
            )
        self.tokenizer, self.pool, self.quantized = tokenizer, pool, quantized
        first, *others = [branch.begins(tokenizer.length) for branch in tokenizer.parts]
        alike = pool is None and all(torch.equal(first, begins) for begins in others)
        self.begins = first if alike else first[:0]
        self.frames = len(self.begins)
        self.rows = sum(tokenizer.sizes) // self.frames if self.frames else 0

    @property
    def dim(self) -> int:
        """Features of a series, or of a token."""
        tokenizer, dims = self.tokenizer, [branch.dim for branch in self.tokenizer.parts]
        if self.pool is None:
            return dims[0]
        like = next(tokenizer.parameters())
        with torch.no_grad():
            widths = [
                self._pooled(like.new_zeros(1, branch.dim, *branch.grid), None).shape[1]
                for branch in tokenizer.parts
            ]
        return sum(widths) * (tokenizer.channels if tokenizer.channelwise else 1)

    def forward(
        self,
        series: Tensor,
        valid: Tensor | None = None,
        *,
        masked: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> Tensor:
        """Return features of scaled series `(batch, channels, length)`.

        Args:
            series: The series; what stands beyond their ends is not read.
            valid: Boolean `(batch, length)`, True before a series' end.
            masked: Boolean `(batch, frames)`: the samples of these places are set to 0, which is
                their mean.
            visible: int64 `(batch, slots)`, -1 for none: all other places are hidden likewise, and
                the tokens of these are returned, `(batch, rows * slots, dim)`.
        """
        tokenizer = self.tokenizer
        if visible is not None:
            masked = self._hidden(visible, len(series))
        if masked is not None:
            series = series.masked_fill(self._samples(masked)[:, None], 0.0)
        lengths, full = None, torch.full((len(series),), tokenizer.length, device=series.device)
        if valid is not None:
            series = torch.where(valid[:, None], series, 0.0)
            lengths = full = valid.sum(dim=1)
        masks = tokenizer.token_valid(full)
        vectors = tokenizer.latents(tokenizer.bands(series), lengths)
        if self.quantized:
            vectors = [
                branch.quantize(part, mask).vectors
                for branch, part, mask in zip(tokenizer.parts, vectors, masks, strict=True)
            ]
        features = self.of(vectors, masks)
        if visible is None:
            return features
        places = visible.clamp(min=0)[:, None, :, None]
        grid = features.unflatten(1, (self.rows, self.frames))
        shape = (-1, self.rows, -1, features.shape[2])
        chosen: Tensor = grid.gather(2, places.expand(shape)).flatten(1, 2)
        return chosen

    def of(self, vectors: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
        """Return the features of vectors `(rows, dim, *grid)` by branch, as `forward` does."""
        channels = self.tokenizer.channels if self.tokenizer.channelwise else 1
        if self.pool is None:
            pattern = "(batch channels) dim ... -> batch (channels ...) dim"
            tokens = [rearrange(part, pattern, channels=channels) for part in vectors]
            return torch.cat(tokens, dim=1)
        pooled = [self._pooled(part, mask) for part, mask in zip(vectors, masks, strict=True)]
        if channels > 1:
            pooled = [part.reshape(len(part) // channels, -1) for part in pooled]
        return torch.cat(pooled, dim=1)

    def _pooled(self, vectors: Tensor, mask: Tensor | None) -> Tensor:
        """Pool `(rows, dim, *grid)`, and name the axis to a pool that asks for it."""
        assumed: Any = self.pool
        asked = inspect.signature(assumed).parameters.get("channel_dim")
        if asked is not None and asked.default is None:
            assumed = partial(assumed, channel_dim=1)
        out: Tensor = assumed(vectors, mask)
        return out

    def token_valid(self, valid: Tensor) -> Tensor:
        """Return which tokens begin before the end, `(batch, tokens)`, of `(batch, length)`."""
        return self.tokenizer.valid_tokens(valid.sum(dim=1))

    def _hidden(self, visible: Tensor, cases: int) -> Tensor:
        hidden = torch.ones(cases, self.frames + 1, dtype=torch.bool, device=visible.device)
        places = visible.where(visible >= 0, self.frames)
        return hidden.scatter(1, places, False)[:, : self.frames]

    def _samples(self, masked: Tensor) -> Tensor:
        """Turn hidden places into hidden samples, `(batch, length)`."""
        if not self.frames:
            raise ValueError(
                "TokenFeatures: places can be hidden where tokens are not pooled and all branches "
                f"have the same places; got grids {self.tokenizer.grids}, pool {self.pool}"
            )
        times = torch.arange(float(self.tokenizer.length))
        place = torch.searchsorted(self.begins, times, right=True) - 1
        return masked[:, place.to(masked.device)]
