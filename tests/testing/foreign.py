"""Parts that are not of this library, one of each kind: they keep the contracts, no base class.

All that they share with the library is what the protocols say. They are small and odd on purpose:
strided means as latents, integer cells as codes, reversed series as views.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssltok.decoding import DecodingState
from ssltok.quantizers import Quantized
from ssltok.training import ObjectiveBatch, ObjectiveOutput

__all__ = [
    "Bands",
    "Cells",
    "Likeness",
    "PlainPrior",
    "StripDecoder",
    "StripEncoder",
    "alternate_mask",
    "inside_out",
    "square_loss",
    "wobble",
]


class Bands(nn.Module):
    """A slow band, the running mean of four samples, and what is left."""

    bands, margin, in_time = 2, 4, False

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def shape(self, band: int, channels: int) -> tuple[int, ...]:
        return channels, self.length

    def forward(self, series: Tensor) -> list[Tensor]:
        slow = nn.functional.avg_pool1d(nn.functional.pad(series, (2, 1)), 4, 1)
        return [slow, series - slow]

    def inverse(self, bands: Sequence[Tensor]) -> list[Tensor]:
        return list(bands)

    def real(self, valid: Tensor) -> list[Tensor]:
        gaps = nn.functional.max_pool1d(nn.functional.pad((~valid).double(), (2, 1)), 4, 1)
        return [gaps == 0] * 2

    def within(self, within: Tensor) -> list[Tensor]:
        return [within] * 2


class StripEncoder(nn.Module):
    """Each strip of four samples through one linear map."""

    strip = 4

    def __init__(self, in_channels: int, dim: int, length: int) -> None:
        super().__init__()
        self.dim, self.length = dim, length
        self.grid = (-(-length // self.strip),)
        self.map = nn.Linear(in_channels * self.strip, dim)

    def forward(self, band: Tensor, valid: Tensor | None = None) -> Tensor:
        if valid is not None:
            band = band.masked_fill(~valid[:, None], 0.0)
        band = nn.functional.pad(band, (0, self.grid[0] * self.strip - self.length))
        strips = band.unflatten(2, (self.grid[0], self.strip)).transpose(1, 2).flatten(2)
        out: Tensor = self.map(strips).transpose(1, 2)
        return out


class StripDecoder(nn.Module):
    """Each vector to a strip of four samples."""

    strip = 4

    def __init__(self, in_channels: int, dim: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.map = nn.Linear(dim, in_channels * self.strip)

    def forward(self, vectors: Tensor, valid: Tensor | None = None) -> Tensor:
        if valid is not None:
            vectors = vectors.masked_fill(~valid[:, None], 0.0)
        strips = self.map(vectors.transpose(1, 2)).unflatten(2, (-1, self.strip))
        out: Tensor = strips.permute(0, 2, 1, 3).flatten(2)[..., : self.length]
        return out


class Cells(nn.Module):
    """Two codes a token, 3 and 5 cells of two learned directions; it learns through its vectors."""

    code_shape: tuple[int, ...] = (2,)
    codes_per_token, codebook_size, codebook_sizes = 2, 5, (3, 5)
    learns_by_vectors, idle = True, True

    def __init__(self, dim: int, channel_dim: int = -1, seed: int = 0) -> None:
        super().__init__()
        self.dim, self.channel_dim = dim, channel_dim
        generator = torch.Generator().manual_seed(seed)
        self.ways = nn.Parameter(torch.randn(2, dim, generator=generator))
        self.back = nn.Parameter(torch.randn(2, dim, generator=generator))

    @property
    def codebook(self) -> Tensor:
        first, second = (self.levels(i)[:, None] * self.back[i] for i in (0, 1))
        return torch.cat([first, second])

    def levels(self, number: int) -> Tensor:
        size = self.codebook_sizes[number]
        return torch.arange(size, device=self.ways.device) - (size - 1) / 2

    def heights(self, latents: Tensor, valid: Tensor | None) -> Tensor:
        """Along the two ways, within the outermost cells; 0 at padding."""
        rows = latents.movedim(self.channel_dim, -1)
        if valid is not None:
            rows = rows.masked_fill(~valid.unsqueeze(-1), 0.0)
        ends = torch.tensor([1.0, 2.0], device=rows.device, dtype=rows.dtype)
        return (rows @ self.ways.T).tanh() * ends

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        heights = self.heights(latents, valid)
        codes = self.encode(latents, valid)
        cells = heights + (heights.round() - heights).detach()
        vectors = cells @ self.back
        if valid is not None:
            vectors = vectors.masked_fill(~valid.unsqueeze(-1), 0.0)
        loss = latents.new_zeros(())
        return Quantized(vectors.movedim(-1, self.channel_dim), codes, loss)

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        ends = torch.tensor([1, 2], device=latents.device)
        codes = self.heights(latents, valid).round().long() + ends
        return codes if valid is None else codes.masked_fill(~valid.unsqueeze(-1), -1)

    def decode(self, codes: Tensor) -> Tensor:
        ends = torch.tensor([1, 2], device=codes.device)
        cells = (codes - ends).to(self.back.dtype) * (codes >= 0)
        return (cells @ self.back).movedim(-1, self.channel_dim)

    def update(self, latents: Tensor, codes: Tensor) -> None: ...

    def initialize(
        self, latents: Tensor, valid: Tensor | None = None, *, steps: int = 10,
        generator: torch.Generator | None = None,
    ) -> None: ...  # fmt: skip

    def revive(
        self, latents: Tensor, codes: Tensor, *, share: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        return ()


class Likeness(nn.Module):
    """Two views should be alike under a learned map, and like a slow mean of earlier ones."""

    views, by_token = 2, False

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.map = nn.Linear(encoder.dim, 3)
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(3))

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.rand(cases, generator=generator),)

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        if len(batch.views) != self.views:
            name = type(self).__name__
            raise ValueError(f"{name}: views must be {self.views}; got {len(batch.views)}")
        features = batch.features
        if features is None:
            features = tuple(
                encoder(v) if batch.valid is None else encoder(v, valid=batch.valid)
                for v in batch.views
            )
        z_a, z_b = (self.map(part) for part in features)
        weight = batch.draws[0].to(z_a.dtype)[:, None]
        apart = (weight * (z_a - z_b).square()).mean()
        off = (z_a.tanh() - self.mean).square().mean()
        spread = (1 - z_a.std(dim=0)).square().mean()
        loss = apart + off + spread
        terms = {"apart": apart.detach(), "spread": spread.detach()}
        return ObjectiveOutput(loss, terms, (z_a.tanh().detach(),))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        self.mean.lerp_(memory[0].mean(dim=0), 0.1)


class PlainPrior(nn.Module):
    """Bags of visible codes: each token is guessed from the mean embedding, its place and label."""

    def __init__(self, tokenizer: Any, classes: int) -> None:
        super().__init__()
        self.sizes, self.classes = tuple(tokenizer.sizes), classes
        self.codebook_sizes = tuple(tokenizer.codebook_sizes)
        self.codes_per_token = len(self.codebook_sizes[0])
        self.mask_index = max(max(books) for books in self.codebook_sizes)
        dim = 8
        self.labels = nn.Embedding(classes + 1, dim)
        self.places = nn.ParameterList(torch.randn(size, dim) for size in self.sizes)
        self.codes = nn.ModuleList(nn.Embedding(self.mask_index + 2, dim) for _ in self.sizes)
        self.heads = nn.ModuleList(
            nn.ModuleList(nn.Linear(dim, size) for size in books) for books in self.codebook_sizes
        )

    def context(self, codes: Tensor, branch: int = 1) -> Tensor:
        return self._bag(codes if codes.ndim == 2 else codes[..., 0], branch - 1)

    def _bag(self, tokens: Tensor, branch: int) -> Tensor:
        real = (tokens >= 0).unsqueeze(-1)
        embedded = self.codes[branch](tokens + 1) * real
        bag: Tensor = embedded.sum(dim=1) / real.sum(dim=1).clamp(min=1)
        return bag

    def logits_of(
        self, branch: int, labels: Tensor, context: Tensor | None, *, level: int = 0,
        coarser: Tensor | None = None,
    ) -> Callable[[Tensor, Tensor], Tensor]:  # fmt: skip
        def logits(tokens: Tensor, where: Tensor) -> Tensor:
            whole = self._bag(tokens, branch) + self.labels(labels + 1)
            if context is not None:
                whole = whole + context
            at = (whole[:, None] + self.places[branch])[where]
            if coarser is not None:
                at = at + self.codes[branch](coarser[..., -1][where] + 1)
            heads: Any = self.heads[branch]
            out: Tensor = heads[level](at)
            return out

        return logits


def wobble(
    series: Tensor, *, valid: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Scale each series by a number of its own."""
    factor = torch.rand(len(series), 1, 1, generator=generator) + 0.5
    scaled = series * factor.to(series)
    return scaled if valid is None else torch.where(valid[:, None], scaled, series)


def alternate_mask(
    shape: tuple[int, int],
    *,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Every other token, from a drawn start; the first as well, so that each row has one."""
    start = torch.randint(2, (shape[0], 1), generator=generator)
    mask = (torch.arange(shape[1]) + start) % 2 == 0
    mask[:, 0] = True
    if valid is None:
        return mask
    alone = valid & (valid.cumsum(dim=1) == 1)
    return (mask & valid) | alone


def inside_out(state: DecodingState) -> Tensor:
    """Keep the tokens in the middle first."""
    tokens = state.tokens.shape[1]
    away = (torch.arange(tokens) - (tokens - 1) / 2).abs()
    return -away.expand(state.tokens.shape).masked_fill(~state.drawn, -torch.inf)


def square_loss(z_a: Tensor, z_b: Tensor) -> Tensor:
    """The mean of the squared distances, and of the squares."""
    wide = (z_a.float(), z_b.float()) if z_a.dtype != torch.float64 else (z_a, z_b)
    return (wide[0] - wide[1]).square().mean() + 0.1 * wide[0].square().mean()
