"""Act 1. Series become tokens and series again: a transform, and a branch for each of its bands.

One branch reads all frequencies (NC-VQVAE), or one the low and one the high ones (TimeVQVAE), or
one the series itself. A branch is an encoder, a quantizer and a decoder; the rest is arithmetic.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any, overload

import torch
from einops import rearrange
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least
from ssltok.data import SeriesSet, SourceSet
from ssltok.pipelines._branch import Branch
from ssltok.pipelines._protocols import check_shapes, check_transform
from ssltok.signal import ChannelScaler

__all__ = ["Tokenizer"]


class Tokenizer(nn.Module):
    """Transform, branches and scaler: everything that turns series into tokens and back.

    Tokens are joint, each of all channels, or **channel by channel**: then every channel passes the
    branches as a series of its own, and the tokens' grid has an axis of channels in front.

    Args:
        transform: From series to bands and back, such as `STFTBands` or `Waveform`.
        branches: One for each band; in training they learn in place.
        scaler: Brings series to the scale of the model; None is a `ChannelScaler`, not fitted.
        channels: Channels of the series.
        channelwise: Whether tokens are channel by channel.
        fill: Completes what tokens leave over of a series with gaps, as `GaussianFill`, or None.
        texture: What new series get beside what is decoded, such as `PatchTexture`, or None.

    Attributes:
        length: Samples of the longest series.
        grids: The axes of each branch's tokens: `(freq, frames)` or `(frames,)`, with channels in
            front where tokens are channel by channel.
        sizes: Tokens of each branch.
        codes_per_token: Codes of one token, the same in all branches.
        codebook_sizes: For each branch, the sizes of the codes of a token, coarse first.
        offset: float64 `(channels,)` or a single 0, what is taken away from series before the
            scaler sees them: `offset` of the training series.
        constant: Boolean, `(channels,)` or one: channels that had one value in training.

    Raises:
        TypeError: If a part lacks a member of its protocol.
        ValueError: If branches are not as many as bands, or differ in the codes of a token.

    Example:
        >>> import torch
        >>> from ssltok.pipelines import TokenizerConfig, build_tokenizer
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=2, length=32)
        >>> tokenizer.grids, tokenizer.codes_per_token
        (((5, 8),), 1)
        >>> tokenizer.encode(torch.zeros(2, 2, 32), torch.tensor([32, 16])).shape
        torch.Size([2, 40])
    """

    transform: Any
    scaler: Any
    fill: Any
    texture: Any

    def __init__(
        self,
        transform: nn.Module,
        branches: Sequence[Branch],
        scaler: nn.Module | None = None,
        *,
        channels: int,
        channelwise: bool = False,
        fill: nn.Module | None = None,
        texture: nn.Module | None = None,
    ) -> None:
        super().__init__()
        who = "Tokenizer"
        check_at_least(who, "channels", channels, 1)
        check_transform(who, transform)
        if len(branches) != transform.bands:
            raise ValueError(
                f"{who}: branches must be as many as the transform's bands, {transform.bands}; "
                f"got {len(branches)}"
            )
        counts = [math.prod(branch.quantizer.code_shape) for branch in branches]
        if len(set(counts)) > 1:
            raise ValueError(
                f"{who}: branches must have as many codes a token as each other; got {counts}"
            )
        self.channels, self.channelwise = channels, channelwise
        self.transform = transform
        self.length = int(self.transform.length)
        self.scaler = ChannelScaler().fit(torch.zeros(1, channels, 1)) if scaler is None else scaler
        self.offset = torch.zeros(1, dtype=torch.float64)
        self.constant = torch.zeros(1, dtype=torch.bool)
        self.branches, self.fill, self.texture = nn.ModuleList(branches), fill, texture
        front = (channels,) if channelwise else ()
        self.grids = tuple((*front, *branch.grid) for branch in branches)
        self.sizes = tuple(math.prod(grid) for grid in self.grids)
        self.codes_per_token = counts[0]
        check_shapes(who, self.transform, branches, channels=1 if channelwise else channels)
        self.codebook_sizes = tuple(tuple(branch.quantizer.codebook_sizes) for branch in branches)

    @property
    def parts(self) -> list[Branch]:
        """The branches, low frequencies first."""
        return [part for part in self.branches if isinstance(part, Branch)]

    @property
    def codebook_size(self) -> int:
        """The largest of all codebooks; also the index of `[MASK]` in the codes of all branches."""
        return int(max(max(sizes) for sizes in self.codebook_sizes))

    def fit_scale(self, data: SeriesSet | SourceSet) -> None:
        """Take scale, offset and constant channels from the training series.

        Raises:
            TypeError: If series are read from a source, and the scaler has no `fit_moments`.
        """
        self.offset = data.offset
        if isinstance(data, SourceSet):
            if not hasattr(self.scaler, "fit_moments"):
                raise TypeError(
                    "fit: the scaler must have fit_moments for series that are not in memory; "
                    f"got {type(self.scaler).__name__}"
                )
            moments = data.statistics.moments
            self.scaler.fit_moments(moments)
            self.constant = moments.high == moments.low
            return
        self.scaler.fit(data.values, data.valid)
        high = data.values.masked_fill(~data.valid, -torch.inf).amax((0, 2))
        low = data.values.masked_fill(~data.valid, torch.inf).amin((0, 2))
        self.constant = high == low

    @overload
    def scaled(self, data: SeriesSet) -> SeriesSet: ...
    @overload
    def scaled(self, data: SourceSet) -> SourceSet: ...
    def scaled(self, data: SeriesSet | SourceSet) -> SeriesSet | SourceSet:
        """Series at the scale of the model, whatever their own offset is.

        Those of a source are scaled as they are taken, on the CPU.
        """
        if isinstance(data, SourceSet):
            return data.changed(_Scaling(copy.deepcopy(self.scaler).cpu(), self.offset))
        return _Scaling(self.scaler, self.offset)(data)

    def in_units(self, scaled: Tensor) -> Tensor:
        """Series in the units of training, of those at the scale of the model.

        Args:
            scaled: `(batch, channels, length)`, such as those of `decode`.

        Returns:
            float64 where a channel has an offset, in the dtype of `scaled` else. What was constant
            in training is that constant.
        """
        series: Tensor = self.scaler.inverse(scaled)
        if bool(self.constant.any()):
            series = series.masked_fill(self.constant.to(series.device)[:, None], 0.0)
        if bool(self.offset.any()):
            series = series.double() + self.offset.to(series.device)[:, None]
        return series

    def scale(self, values: Tensor, valid: Tensor) -> Tensor:
        """Bring series `(batch, channels, length)` to the scale of the model; NaN becomes 0.

        The values have the offset taken away already; `scaled` sees to it.
        """
        return _scale(self.scaler, values, valid)

    def bands(self, series: Tensor) -> list[Tensor]:
        """The bands of scaled series; channel by channel, each channel is a row of the batch."""
        if self.channelwise:
            series = series.flatten(0, 1).unsqueeze(1)
        return list(self.transform(series))

    def waves(self, bands: Sequence[Tensor]) -> list[Tensor]:
        """Each branch's share of the scaled series; their sum is the series."""
        waves: list[Tensor] = self.transform.inverse(bands)
        if self.channelwise:
            pattern = "(batch channels) 1 length -> batch channels length"
            waves = [rearrange(wave, pattern, channels=self.channels) for wave in waves]
        return waves

    def latents(
        self,
        bands: Sequence[Tensor],
        lengths: Tensor | None = None,
        observed: Tensor | None = None,
    ) -> list[Tensor]:
        """Latents of bands, by branch; `lengths` int64 `(batch,)` where series end early.

        `observed`, as in `encode`, is not read where the bands are not the series.
        """
        none: list[Any] = [None] * len(self.parts)
        within = none if lengths is None else self.within(lengths)
        seen = none if observed is None or not self.transform.in_time else self.bands(observed)
        return [b.latents(*of) for b, *of in zip(self.parts, bands, within, seen, strict=True)]

    def rebuild(
        self, vectors: Sequence[Tensor], columns: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """Bands of code vectors; `columns`, `(rows, grid[-1])` by branch, marks real ones."""
        masks = [None] * len(self.parts) if columns is None else columns
        return [
            branch.decode(part, mask)
            for branch, part, mask in zip(self.parts, vectors, masks, strict=True)
        ]

    def token_valid(self, lengths: Tensor) -> list[Tensor]:
        """Which tokens stand for real samples, `(rows, *grid)` by branch, rows as in `bands`.

        A token is real if its share of the time axis begins before the series ends.
        """
        masks = []
        for branch, real in zip(self.parts, self.columns(lengths), strict=True):
            grid = branch.grid
            masks.append(real.view(len(real), *[1] * (len(grid) - 1), -1).expand(-1, *grid))
        return masks

    def valid_tokens(self, lengths: Tensor) -> Tensor:
        """The same for all branches in a row, `(batch, tokens)`."""
        return torch.cat([mask.reshape(len(lengths), -1) for mask in self.token_valid(lengths)], 1)

    def encode(self, series: Tensor, lengths: Tensor, observed: Tensor | None = None) -> Tensor:
        """Codes of scaled series, int64 `(batch, tokens)`, -1 at padding; low branch first.

        With several codes a token `(batch, tokens, codes)`, coarse first. `observed`, boolean of
        the shape of `series`, is False where a value is only a guess.
        """
        padded = bool((lengths < self.length).any())
        if self.fill is None:
            observed = None  # it learned from whole series: guesses are read as values
        latents = self.latents(self.bands(series), lengths if padded else None, observed)
        codes = []
        for branch, latent, valid in zip(
            self.parts, latents, self.token_valid(lengths), strict=True
        ):
            codes.append(self.flat(branch.codes(latent, valid)))
        return torch.cat(codes, dim=1)

    def flat(self, codes: Tensor) -> Tensor:
        """Codes of one branch in its own axes as `(batch, tokens)` or `(batch, tokens, codes)`."""
        batch = codes.shape[0] // (self.channels if self.channelwise else 1)
        if self.codes_per_token > 1:
            return codes.reshape(batch, -1, self.codes_per_token)
        return codes.reshape(batch, -1)

    def vectors(self, codes: Tensor, *, tokens: int | None = None) -> list[Tensor]:
        """The vectors of codes, `(rows, dim, *grid)` by branch, rows as in `bands`.

        Raises:
            ValueError: If `tokens` is less than 1.
            TypeError: If it is not a number.
        """
        parts = self._parted(codes)
        if tokens is not None:
            check_at_least("Tokenizer", "tokens", tokens, 1)
            parts = [
                _first(part, branch.grid, tokens)
                for branch, part in zip(self.parts, parts, strict=True)
            ]
        return [branch.vectors(part) for branch, part in zip(self.parts, parts, strict=True)]

    @property
    def limits(self) -> list[list[int] | None]:
        """How many codes each token of a branch may have; None where all have all.

        A quantizer whose codebook grows along the sequence says so by `sizes_at(places)`.
        """
        rows: list[list[int] | None] = []
        for branch, size in zip(self.parts, self.sizes, strict=True):
            places = math.prod(branch.grid)
            growing = hasattr(branch.quantizer, "sizes_at")
            limits = branch.quantizer.sizes_at(places) if growing else None
            rows.append(None if limits is None else limits * (size // places))
        return rows

    def real_codes(self, codes: Tensor) -> list[Tensor]:
        """Which tokens are real, `(rows, *grid)` by branch, rows as in `bands`."""
        return [
            (part if part.ndim == 1 + len(branch.grid) else part[..., 0]) >= 0
            for branch, part in zip(self.parts, self._parted(codes), strict=True)
        ]

    def token_vectors(self, codes: Tensor) -> list[Tensor]:
        """The vectors of codes with the tokens in a row, `(batch, dim, tokens)` by branch."""
        pattern = "(batch channels) dim ... -> batch dim (channels ...)"
        channels = self.channels if self.channelwise else 1
        return [rearrange(part, pattern, channels=channels) for part in self.vectors(codes)]

    def decode(self, codes: Tensor, *, tokens: int | None = None) -> Tensor:
        """Scaled series of codes as `encode` gives them.

        `tokens` keeps the first so many of each branch (channel by channel: of each channel), as an
        `OrderedQuantizer` is trained for; the others have the vector 0.
        """
        columns = None
        if bool((codes < 0).any()):
            columns = [
                real.flatten(1, -2).any(dim=1) if real.ndim > 2 else real
                for real in self.real_codes(codes)
            ]
        vectors = self.vectors(codes, tokens=tokens)
        return torch.stack(self.waves(self.rebuild(vectors, columns))).sum(dim=0)

    def _parted(self, codes: Tensor) -> list[Tensor]:
        """Codes of each branch in its own axes, `(rows, *grid)` or `(rows, *grid, codes)`."""
        parts = torch.split(codes, list(self.sizes), dim=1)
        return [
            part.reshape(-1, *branch.grid, *part.shape[2:])
            for branch, part in zip(self.parts, parts, strict=True)
        ]

    def within(self, lengths: Tensor) -> list[Tensor]:
        """Which columns of each band are before the series' end, `(rows, columns)`."""
        if self.channelwise:
            lengths = lengths.repeat_interleave(self.channels)
        times = torch.arange(self.length, device=lengths.device)
        masks: list[Tensor] = self.transform.within(times < lengths[:, None])
        return masks

    def columns(self, lengths: Tensor) -> list[Tensor]:
        """Which columns of each branch's grid begin before the series end, `(rows, columns)`."""
        if self.channelwise:
            lengths = lengths.repeat_interleave(self.channels)
        begins = [branch.begins(self.length).to(lengths.device) for branch in self.parts]
        return [begin < lengths[:, None] for begin in begins]


class _Scaling:
    """Brings sets to the scale of a model: a function that survives its model's moves."""

    def __init__(self, scaler: Any, offset: Tensor) -> None:
        self.scaler, self.offset = scaler, offset

    def __call__(self, data: SeriesSet) -> SeriesSet:
        data = data.about(self.offset)
        return data._replace(values=_scale(self.scaler, data.values, data.valid))


def _first(codes: Tensor, grid: tuple[int, ...], count: int) -> Tensor:
    """Keep the first tokens of each row of `(rows, *grid, ...)`; the others become -1."""
    beyond = torch.arange(math.prod(grid), device=codes.device) >= count
    beyond = beyond.reshape(*grid, *[1] * (codes.ndim - 1 - len(grid)))
    return codes.masked_fill(beyond, -1)


def _scale(scaler: Any, values: Tensor, valid: Tensor) -> Tensor:
    scaled: Tensor = scaler(values)
    return torch.where(valid.any(dim=-1, keepdim=True), scaled, 0.0)
