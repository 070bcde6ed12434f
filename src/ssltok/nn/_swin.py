"""A shifted-window transformer: long series at a cost that grows with their length alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Generator, Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import check_at_least, check_positive, check_ratio
from ssltok._shared.derived import DerivedBuffers
from ssltok.nn._attention import Attention
from ssltok.nn._noise import drop_rows
from ssltok.nn._patch_embed import PatchEmbed1d
from ssltok.nn._state_names import store_as
from ssltok.nn._stochastic_depth import stochastic_depth_rates
from ssltok.nn._transformer_layer import Layer, readable

__all__ = ["SwinTransformer1d"]


class SwinTransformer1d(nn.Module):
    r"""Let tokens read within windows that shift from layer to layer, and merge them in pairs.

    Patches become tokens and pass through stages. In a stage, the tokens are cut into windows of
    `window` neighbours; each reads its own window, with a learned bias for each distance and head,
    $\mathrm{softmax}(Q K^\top / \sqrt{d} + B) V$. Every second layer cuts `window // 2` tokens
    further on. Between two stages each pair of neighbours is joined, normed and mapped to one
    token of twice as many features. So a layer costs $O(\mathrm{tokens} \cdot \mathrm{window})$
    where attention over everything costs $O(\mathrm{tokens}^2)$.

    The result is `(batch, tokens, dim)`: `swin.tokens(length)` tokens of `swin.dim` features, and
    `swin.token_valid(valid)` says which of them are real.

    Departures: a window that is not full, at either end, is filled up with tokens that nobody
    reads, where Swin rolls the tokens round and forbids what is no neighbour: the same attention,
    at most one window more. Windows do not shrink for short series, so that a padded series comes
    out as the truncated one. Products of attention have no bias. Two neighbours are merged, not
    four, for there is one axis.

    `torch.export` exports it for one length: how many windows and pairs there are decides what is
    filled up. `ViT1d` can be exported for all lengths at once.

    Args:
        embedding: Cuts and embeds patches.
        depths: Layers of each stage; Swin-T has (2, 2, 6, 2).
        heads: Heads of each stage; Swin-T has (3, 6, 12, 24) with 96 features.
        window: Tokens of a window, at least 2. Swin has windows of 7 by 7.
        mlp_ratio: Hidden features of the MLP, over those of a token.
        norm: Makes a norm from a number of features.
        stochastic_depth: Share of residuals dropped in the last layer, in training; the layers
            before it drop less. Swin-T uses 0.2.

    Raises:
        ValueError: If a size or ratio is not as described, or a series is empty or does not fit.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import PatchEmbed1d, SwinTransformer1d
        >>> swin = SwinTransformer1d(
        ...     PatchEmbed1d(3, 16, patch=4), depths=(2, 2), heads=(2, 4), window=8
        ... )
        >>> swin(torch.randn(5, 3, 1000)).shape  # 250 patches, merged once
        torch.Size([5, 125, 32])

    References:
        Liu et al., *Swin Transformer*, 2021, <https://arxiv.org/abs/2103.14030>, section 3.
    """

    def __init__(
        self,
        embedding: PatchEmbed1d,
        *,
        depths: Sequence[int],
        heads: Sequence[int],
        window: int,
        mlp_ratio: float = 4.0,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
        stochastic_depth: float = 0.0,
    ) -> None:
        super().__init__()
        who = "SwinTransformer1d"
        for name, sizes in (("depths", depths), ("heads", heads)):
            if not isinstance(sizes, Sequence):
                raise ValueError(f"{who}: {name} must be a sequence, one for a stage; got {sizes}")
        check_at_least(who, "stages", len(depths), 1)
        if len(depths) != len(heads):
            raise ValueError(
                f"{who}: depths and heads must share one length; got {len(depths)} and {len(heads)}"
            )
        check_at_least(who, "depths", min(depths), 1)
        check_at_least(who, "window", window, 2)
        check_positive(who, "mlp_ratio", mlp_ratio)
        check_ratio(who, "stochastic_depth", stochastic_depth)
        self.embedding, self.depths, self.heads = embedding, tuple(depths), tuple(heads)
        self.window, self.mlp_ratio, self.norm = window, mlp_ratio, norm
        self.stochastic_depth = stochastic_depth
        self.rates = stochastic_depth_rates(sum(depths), last_ratio=stochastic_depth)
        widths = [embedding.dim * 2**stage for stage in range(len(depths))]
        self.dim = widths[-1]
        self.embedding_norm = norm(embedding.dim)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                Layer(
                    width,
                    attention=WindowAttention(
                        width, heads=heads[stage], window=window, shift=index % 2 * (window // 2)
                    ),
                    hidden=round(mlp_ratio * width),
                    norm=norm,
                )
                for index in range(depths[stage])
            )
            for stage, width in enumerate(widths)
        )
        self.merges = nn.ModuleList(
            nn.Sequential(norm(2 * width), nn.Linear(2 * width, 2 * width, bias=False))
            for width in widths[:-1]
        )
        self.last_norm = norm(self.dim)
        store_as(self, last_norm="norm")

    def tokens(self, length: int) -> int:
        """Count the tokens of the result for a series of `length` samples."""
        return -(-self.embedding.tokens(length) // (1 << len(self.merges)))

    def token_valid(self, valid: Tensor) -> Tensor:
        """Say which tokens are real, `(batch, tokens)`, from the real samples `(batch, length)`."""
        return self.stage_valid(valid)[-1]

    def stage_valid(self, valid: Tensor) -> tuple[Tensor, ...]:
        """Say the same of the tokens of every stage, for `stage_tokens`."""
        real = [self.embedding.token_valid(valid)]
        for _ in self.merges:
            real.append(pairs(real[-1].unsqueeze(-1)).any(dim=-1))
        return tuple(real)

    def forward(
        self,
        series: Tensor,
        *,
        valid: Tensor | None = None,
        observed: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Encode `(batch, channels, length)` as `(batch, tokens, dim)`.

        Args:
            series: The series.
            valid: `(batch, length)`, boolean, True where a sample is real. Nothing else is read.
            observed: `(batch, channels, length)`, boolean, False where a value is missing, for an
                embedding with `observed_mask`.
            generator: Source of stochastic depth in training; None is torch's own.
        """
        last = series
        for tokens in self._run(series, valid, observed, generator):
            last = tokens
        out: Tensor = self.last_norm(last)
        return out

    def stage_tokens(
        self,
        series: Tensor,
        *,
        valid: Tensor | None = None,
        observed: Tensor | None = None,
        generator: Generator | None = None,
    ) -> tuple[Tensor, ...]:
        """Return what every stage makes, fine to coarse, before the last norm.

        Stage $s$ gives `(batch, tokens, dim)` with half the tokens and twice the features of the
        stage before: the pyramid that a dense task reads. Arguments as in `forward`.
        """
        return tuple(self._run(series, valid, observed, generator))

    def _run(
        self,
        series: Tensor,
        valid: Tensor | None,
        observed: Tensor | None,
        generator: Generator | None,
    ) -> Iterator[Tensor]:
        x = self.embedding_norm(self.embedding(series, valid=valid, observed=observed))
        valids: Sequence[Tensor | None] = [None] * len(self.stages)
        if valid is not None:
            valids = self.stage_valid(valid)
        rates = iter(self.rates)
        for stage, (layers, real) in enumerate(zip(self.stages, valids, strict=True)):
            if stage:
                x = self.merges[stage - 1](pairs(x))

            def attend(attention: nn.Module, normed: Tensor, real: Tensor | None = real) -> Tensor:
                mixed: Tensor = attention(normed, valid=real)
                return mixed

            for layer in layers.children():
                rate = next(rates)

                def drop(added: Tensor, rate: float = rate) -> Tensor:
                    return drop_rows(added, rate, generator=generator) if self.training else added

                x, _ = layer(x, attend, drop)
            if real is not None:
                x = x.masked_fill(~real.unsqueeze(-1), 0)  # a pair reads both of its tokens
            yield x


class WindowAttention(DerivedBuffers):
    """Attention within windows of neighbours, the first cut after `shift` tokens."""

    distances: Tensor

    def __init__(self, dim: int, *, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.attention = Attention(dim, heads=heads)
        self.window, self.shift = window, shift
        self.bias = nn.Parameter(torch.empty(heads, 2 * window - 1).normal_(std=0.02))
        self._register_derived()

    def _derive(self) -> dict[str, Tensor]:
        places = torch.arange(self.window)
        return {"distances": places.unsqueeze(1) - places + self.window - 1}

    def _derived_options(self) -> dict[str, Any]:
        return {"window": self.window}

    def forward(self, x: Tensor, *, valid: Tensor | None) -> Tensor:
        """Mix `x`, `(batch, tokens, dim)`, window by window."""
        batch, tokens, _ = x.shape
        before = -self.shift % self.window
        after = -(before + tokens) % self.window
        if valid is None and before + after > 0:
            valid = torch.ones(1, tokens, dtype=torch.bool, device=x.device).expand(batch, -1)
        allowed = None
        if valid is not None:
            padded = functional.pad(valid, (before, after))
            allowed = readable(self._windows(padded))
        windows = self._windows(functional.pad(x, (0, 0, before, after)))
        mixed: Tensor = self.attention(windows, allowed=allowed, bias=self.bias[:, self.distances])
        pattern = "(batch windows) tokens dim -> batch (windows tokens) dim"
        return rearrange(mixed, pattern, batch=batch).narrow(1, before, tokens)

    def _windows(self, x: Tensor) -> Tensor:
        pattern = "batch (windows tokens) ... -> (batch windows) tokens ..."
        return rearrange(x, pattern, tokens=self.window)


def pairs(x: Tensor) -> Tensor:
    """Put two neighbours side by side, `(batch, tokens, dim)` to half the tokens, twice the dim."""
    odd = x.shape[1] % 2
    split: Tensor = functional.pad(x, (0, 0, 0, odd)).unflatten(1, (-1, 2))
    return split.flatten(2)
