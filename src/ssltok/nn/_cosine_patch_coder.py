"""A coder of patches of any number of samples: their cosines, and a small network."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import check_at_least
from ssltok.nn._cosines import cosine_patches, cosine_series
from ssltok.nn._geometry import check_rows, check_valid, zero_padding

__all__ = ["CosinePatchDecoder1d", "CosinePatchEncoder1d"]

PARTS = 8  # parts of a patch whose share of observed samples the encoder reads


class CosinePatchEncoder1d(nn.Module):
    r"""Turn each patch of one channel into a vector: its lowest cosines, and a small network.

    $$z = y + f(y, o)$$

    with the coefficients $y$ of `cosine_patches`, and the share $o$ of samples that are real in
    each of 8 parts of a patch. The network $f$ sees both neighbours and starts at 0. The same
    weights serve any length and any patch (`resized`), for $y$ has the same `dim` numbers for a
    shape however densely it was sampled.

    Samples that are not real, and those beyond the last patch's end, are bridged: a straight line
    between the nearest real ones, and the nearest one before the first and after the last.

    Args:
        dim: Features of a vector: coefficients of a patch.
        length: Samples of the series.
        patch: Samples of a patch; those beyond `dim` coefficients are smoothed away.
        hidden_dim: Channels inside the network.
        blocks: Residual blocks of the network.

    Attributes:
        grid: Places of the result, `(frames,)`, one for each patch.

    Raises:
        ValueError: If a size is smaller than 1 (`blocks`: 0), or an input has other sizes.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import CosinePatchDecoder1d, CosinePatchEncoder1d
        >>> encoder = CosinePatchEncoder1d(8, length=20, patch=8)
        >>> decoder, series = CosinePatchDecoder1d(8, length=20, patch=8), torch.randn(4, 1, 20)
        >>> latents = encoder(series)
        >>> latents.shape, encoder.grid
        (torch.Size([4, 8, 3]), (3,))
        >>> decoder(latents).allclose(series, atol=1e-5)  # both networks start at 0
        True

    References:
        Ahmed et al., *Discrete cosine transform*, 1974.
    """

    def __init__(
        self, dim: int, *, length: int, patch: int, hidden_dim: int = 96, blocks: int = 2
    ) -> None:
        super().__init__()
        _check_sizes("CosinePatchEncoder1d", dim, length, patch, hidden_dim, blocks)
        self.dim, self.length, self.patch = dim, length, patch
        self.hidden_dim, self.blocks = hidden_dim, blocks
        self.grid = (-(-length // patch),)
        self.network = PatchNetwork(dim + PARTS, hidden_dim, dim, blocks=blocks)

    def resized(self, *, length: int, patch: int) -> Self:
        """Return an encoder of other sizes with the same network: not a copy of its weights."""
        sizes = {"hidden_dim": self.hidden_dim, "blocks": self.blocks}
        with torch.device("meta"):
            other = type(self)(self.dim, length=length, patch=patch, **sizes)
        other.network = self.network
        return other.train(self.training)

    def forward(self, series: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encode `(batch, 1, length)` as `(batch, dim, frames)`.

        Args:
            series: The series.
            valid: Boolean `(batch, length)`, True where a sample is real; the others are not read.
                By default all are. Patches behind the last real sample become zeros.
        """
        who = "CosinePatchEncoder1d"
        check_rows(who, "series", series, (1, self.length), axes="batch channels length", least=1)
        check_valid(who, series, valid)
        tail = self.grid[0] * self.patch - self.length
        flat = functional.pad(series[:, 0], (0, tail))
        if valid is None and not tail:
            observed, filled = torch.ones_like(flat, dtype=torch.bool), flat
        else:
            known = series.new_ones(series.shape[0], self.length, dtype=torch.bool)
            observed = functional.pad(known if valid is None else valid, (0, tail))
            filled = _bridge(flat, observed)
        y = cosine_patches(filled, patch=self.patch, dim=self.dim)
        o = _observed_share(observed, patch=self.patch).to(y.dtype)
        latents: Tensor = (y + self.network(torch.cat([y, o], dim=2))).transpose(1, 2)
        if valid is None:
            return latents
        begun = observed.unflatten(1, (-1, self.patch)).any(dim=2)
        begun = begun.flip(1).cummax(dim=1).values.flip(1)  # gaps before the last real sample stay
        return torch.where(begun[:, None], latents, 0)


class CosinePatchDecoder1d(nn.Module):
    r"""Turn the vectors of patches into one channel: a small network, and their cosines summed.

    $$\hat x = \text{cosine\_series}(z + g(z))$$

    with a network $g$ as that of `CosinePatchEncoder1d`.

    Args:
        dim: Features of a vector.
        length: Samples of the series.
        patch: Samples of a patch.
        hidden_dim: Channels inside the network.
        blocks: Residual blocks of the network.

    Attributes:
        grid: Places of the input, `(frames,)`.

    Raises:
        ValueError: If a size is smaller than 1 (`blocks`: 0), or an input has other sizes.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import CosinePatchDecoder1d
        >>> decoder = CosinePatchDecoder1d(16, length=50, patch=8)
        >>> decoder(torch.randn(4, 16, *decoder.grid)).shape
        torch.Size([4, 1, 50])

    References:
        See `CosinePatchEncoder1d`.
    """

    def __init__(
        self, dim: int, *, length: int, patch: int, hidden_dim: int = 96, blocks: int = 2
    ) -> None:
        super().__init__()
        _check_sizes("CosinePatchDecoder1d", dim, length, patch, hidden_dim, blocks)
        self.dim, self.length, self.patch = dim, length, patch
        self.hidden_dim, self.blocks = hidden_dim, blocks
        self.grid = (-(-length // patch),)
        self.network = PatchNetwork(dim, hidden_dim, dim, blocks=blocks)

    def resized(self, *, length: int, patch: int) -> Self:
        """Return a decoder of other sizes with the same network: not a copy of its weights."""
        sizes = {"hidden_dim": self.hidden_dim, "blocks": self.blocks}
        with torch.device("meta"):
            other = type(self)(self.dim, length=length, patch=patch, **sizes)
        other.network = self.network
        return other.train(self.training)

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Decode `(batch, dim, frames)` as `(batch, 1, length)`.

        Args:
            latents: The vectors.
            valid: Boolean `(batch, frames)`, True where a vector is real; the others count as
                zeros. By default all are.
        """
        who, sizes = "CosinePatchDecoder1d", (self.dim, *self.grid)
        check_rows(who, "latents", latents, sizes, axes="batch dim frames", least=1)
        check_valid(who, latents, valid)
        z = zero_padding(latents, valid).transpose(1, 2)
        series = cosine_series(z + self.network(z), patch=self.patch)
        return series[:, None, : self.length]


class PatchNetwork(nn.Module):
    """Residual blocks over each place and its two neighbours; the last layer starts at 0."""

    def __init__(self, into: int, hidden: int, out: int, *, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Linear(3 * into, hidden)
        self.blocks = nn.ModuleList(
            nn.ModuleList([nn.Linear(3 * hidden, hidden), nn.Linear(hidden, hidden)])
            for _ in range(blocks)
        )
        self.leave = nn.Linear(hidden, out)
        for layer in [self.leave, *(block[1] for block in self.layers)]:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def layers(self) -> list[list[nn.Linear]]:
        """The two layers of each block."""
        return [list(block) for block in self.blocks]  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Turn `(batch, frames, into)` into `(batch, frames, out)`."""
        x = functional.gelu(self.enter(_with_neighbours(x)))
        for first, second in self.layers:
            x = x + second(functional.gelu(first(_with_neighbours(x))))
        left: Tensor = self.leave(functional.gelu(x))
        return left


def _with_neighbours(x: Tensor) -> Tensor:
    """Features of the place before, of each place, and of the one after; 0 beyond the ends."""
    padded = functional.pad(x, (0, 0, 1, 1))
    return torch.cat([padded[:, :-2], x, padded[:, 2:]], dim=2)


def _bridge(series: Tensor, observed: Tensor) -> Tensor:
    """Straight lines through gaps, the nearest value beyond the ends, 0 where nothing is known."""
    length = series.shape[1]
    series = torch.where(observed, series, 0.0)
    places = torch.arange(length, device=series.device)
    before = torch.where(observed, places, -1).cummax(dim=1).values
    after = torch.where(observed, places, length).flip(1).cummin(dim=1).values.flip(1)
    left = torch.where(before < 0, after, before).clamp(0, length - 1)
    right = torch.where(after >= length, before, after).clamp(0, length - 1)
    low, high = series.gather(1, left), series.gather(1, right)
    share = (places - left) / (right - left).clamp(min=1)
    return torch.where(observed, series, low + share * (high - low))


def _observed_share(observed: Tensor, *, patch: int) -> Tensor:
    """Share of observed samples in the parts of each patch, `(batch, frames, PARTS)`.

    Parts overlap where a patch has no multiple of them, so that each has a sample at least.
    """
    rows = observed.unflatten(1, (-1, patch)).float()
    edges = [(i * patch // PARTS, -(-(i + 1) * patch // PARTS)) for i in range(PARTS)]
    return torch.stack([rows[..., low:high].mean(-1) for low, high in edges], dim=-1)


def _check_sizes(who: str, dim: int, length: int, patch: int, hidden_dim: int, blocks: int) -> None:
    sizes = {"dim": dim, "length": length, "patch": patch, "hidden_dim": hidden_dim}
    for name, size in sizes.items():
        check_at_least(who, name, size, 1)
    check_at_least(who, "blocks", blocks, 0)
