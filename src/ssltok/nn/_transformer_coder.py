"""A coder of patches by transformers: every vector may read every other."""

import torch
from torch import Generator, Tensor, nn

from ssltok._shared.checks import check_at_least
from ssltok.nn._gaps import of_missing
from ssltok.nn._geometry import check_rows, check_valid
from ssltok.nn._patch_embed import PatchEmbed1d, unpatchify
from ssltok.nn._sinusoidal import positions_like
from ssltok.nn._transformer import Transformer

__all__ = ["TransformerDecoder1d", "TransformerEncoder1d"]


class TransformerEncoder1d(nn.Module):
    """Turn each patch of a series into a vector that has read the whole series.

    Patch embeddings plus sinusoidal positions, a `Transformer`, and a linear map to `dim`
    features. Nobody reads a patch without any real sample, and its vector is 0.

    Args:
        in_channels: Channels of the series.
        dim: Features of a vector.
        length: Samples of the series.
        patch: Samples of a patch, at most `length`; the last one is filled up with zeros.
        hidden_dim: Features inside the transformer, even.
        depth: Layers.
        heads: Heads; they divide `hidden_dim`.
        mlp_ratio: Hidden features of the MLP, over `hidden_dim`. Most papers use 4.
        dropout: Share of elements dropped from a residual, in training.
        gaps: Whether it is told which values are observed: then a linear map of those that are
            missing, 0 at the start, is added to a patch's embedding.

    Attributes:
        grid: Places of the result, `(frames,)`, one for each patch.

    Raises:
        ValueError: If a size is out of range, or an input has other sizes.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import TransformerEncoder1d
        >>> sizes = {"length": 50, "patch": 8, "hidden_dim": 32, "depth": 2, "heads": 4}
        >>> encoder = TransformerEncoder1d(3, 16, **sizes)
        >>> encoder.grid, encoder(torch.randn(4, 3, 50)).shape
        ((7,), torch.Size([4, 16, 7]))

    References:
        Dosovitskiy et al., *ViT*, 2020, <https://arxiv.org/abs/2010.11929>, section 3.1.
        Yu et al., *ViT-VQGAN*, 2021, <https://arxiv.org/abs/2110.04627>, section 3.1.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        *,
        length: int,
        patch: int,
        hidden_dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        gaps: bool = False,
    ) -> None:
        super().__init__()
        _check_sizes("TransformerEncoder1d", in_channels, dim, length, patch, hidden_dim)
        self.in_channels, self.dim, self.length, self.patch = in_channels, dim, length, patch
        self.hidden_dim, self.depth, self.heads = hidden_dim, depth, heads
        self.mlp_ratio, self.dropout, self.gaps = mlp_ratio, dropout, gaps
        self.grid = (-(-length // patch),)
        self.embedding = PatchEmbed1d(in_channels, hidden_dim, patch=patch)
        self.trunk = Transformer(
            hidden_dim, depth=depth, heads=heads, mlp_ratio=mlp_ratio, dropout=dropout
        )
        self.outward = nn.Linear(hidden_dim, dim)
        self.missing = nn.Parameter(torch.zeros(hidden_dim, in_channels * patch)) if gaps else None

    def forward(
        self,
        series: Tensor,
        valid: Tensor | None = None,
        observed: Tensor | None = None,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Encode `(batch, in_channels, length)` as `(batch, dim, frames)`.

        Args:
            series: The series.
            valid: Boolean `(batch, length)`, True where a sample is real; the others are not read.
                By default all are.
            observed: Boolean, of the shape of `series`, False where a value is only a guess, such
                as that of `line_fill`; for an encoder with `gaps`. By default all are.
            generator: Source of dropout in training; None is torch's own.
        """
        who, sizes = "TransformerEncoder1d", (self.in_channels, self.length)
        check_rows(who, "series", series, sizes, axes="batch channels length")
        check_valid(who, series, valid)
        x = self.embedding(series, valid=valid)
        if observed is not None:
            x = x + of_missing(who, self.missing, series, valid, observed, patch=self.patch)
        x = x + _positions(self.grid[0], self.embedding.projection.weight)
        real = None if valid is None else self.embedding.token_valid(valid)
        out: Tensor = self.outward(self.trunk(x, valid=real, generator=generator))
        if real is not None:
            out = out.masked_fill(~real.unsqueeze(-1), 0)
        return out.transpose(1, 2)


class TransformerDecoder1d(nn.Module):
    """Turn the vectors of patches back into a series of exactly the length that was encoded.

    The mirror image of `TransformerEncoder1d`: a linear map to `hidden_dim` features plus
    sinusoidal positions, a `Transformer`, and a linear map to the samples of each patch.

    Args:
        in_channels: Channels of the series that the encoder read and this module returns.
        dim: Features of a vector.
        length: Samples of the series.
        patch: Samples of a patch, at most `length`.
        hidden_dim: Features inside the transformer, even.
        depth: Layers.
        heads: Heads; they divide `hidden_dim`.
        mlp_ratio: Hidden features of the MLP, over `hidden_dim`. Most papers use 4.
        dropout: Share of elements dropped from a residual, in training.

    Attributes:
        grid: Places of the input, `(frames,)`.

    Raises:
        ValueError: If a size is out of range, or an input has other sizes.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import TransformerDecoder1d
        >>> sizes = {"length": 50, "patch": 8, "hidden_dim": 32, "depth": 2, "heads": 4}
        >>> decoder = TransformerDecoder1d(3, 16, **sizes)
        >>> decoder(torch.randn(4, 16, *decoder.grid)).shape
        torch.Size([4, 3, 50])

    References:
        See `TransformerEncoder1d`.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        *,
        length: int,
        patch: int,
        hidden_dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check_sizes("TransformerDecoder1d", in_channels, dim, length, patch, hidden_dim)
        self.in_channels, self.dim, self.length, self.patch = in_channels, dim, length, patch
        self.hidden_dim, self.depth, self.heads = hidden_dim, depth, heads
        self.mlp_ratio, self.dropout = mlp_ratio, dropout
        self.grid = (-(-length // patch),)
        self.inward = nn.Linear(dim, hidden_dim)
        self.trunk = Transformer(
            hidden_dim, depth=depth, heads=heads, mlp_ratio=mlp_ratio, dropout=dropout
        )
        self.outward = nn.Linear(hidden_dim, in_channels * patch)

    def forward(
        self,
        latents: Tensor,
        valid: Tensor | None = None,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Decode `(batch, dim, frames)` as `(batch, in_channels, length)`.

        Args:
            latents: The vectors.
            valid: Boolean `(batch, frames)`, True where a vector is real. Nobody reads the others;
                the samples of their patches are 0. By default all are.
            generator: Source of dropout in training; None is torch's own.
        """
        who, sizes = "TransformerDecoder1d", (self.dim, *self.grid)
        check_rows(who, "latents", latents, sizes, axes="batch dim frames")
        check_valid(who, latents, valid)
        tokens = latents.transpose(1, 2)
        if valid is not None:
            tokens = tokens.masked_fill(~valid.unsqueeze(-1), 0)
        x = self.inward(tokens) + _positions(self.grid[0], self.inward.weight)
        patches = self.outward(self.trunk(x, valid=valid, generator=generator))
        if valid is not None:
            patches = patches.masked_fill(~valid.unsqueeze(-1), 0)
        return unpatchify(patches, channels=self.in_channels, length=self.length)


def _positions(count: int, like: Tensor) -> Tensor:
    """Return the sinusoidal positions of `count` places, as wide as the first axis of `like`."""
    return positions_like(torch.arange(count, device=like.device), like)


def _check_sizes(
    who: str, in_channels: int, dim: int, length: int, patch: int, hidden_dim: int
) -> None:
    sizes = {"in_channels": in_channels, "dim": dim, "length": length, "patch": patch}
    for name, size in (sizes | {"hidden_dim": hidden_dim}).items():
        check_at_least(who, name, size, 1)
    if patch > length:
        raise ValueError(f"{who}: patch must be <= length, {length}; got {patch}")
    if hidden_dim % 2:
        raise ValueError(f"{who}: hidden_dim must be even for positions; got {hidden_dim}")
