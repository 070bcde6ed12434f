"""A coder of patches that starts as their PCA, and bends from there."""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import check_at_least
from ssltok.nn._gaps import of_missing
from ssltok.nn._geometry import apply_layer, check_rows, check_valid, least_batch, zero_padding
from ssltok.nn._patch_embed import patchify, unpatchify
from ssltok.nn._valid_batch_norm import ValidBatchNorm1d

__all__ = ["PatchDecoder1d", "PatchEncoder1d"]


class PatchEncoder1d(nn.Module):
    r"""Turn each patch of a series into a vector: its principal components, and a small network.

    $$z = y + f(y), \qquad y_j = s\, U^\top (x_j - \mu)$$

    for the patch $x_j$ of all channels, with an orthonormal basis $U$. The network $f$ sees the
    neighbours and starts at 0. `initialize` takes $\mu$ and $U$ from the training series, so that
    encoding and decoding is at the start the best linear code of this size; the one scale $s$
    (mean variance 1) leaves distances in proportion, so k-means on the vectors is k-means on the
    patches. All of it is trained but $\mu$. Without `initialize`, $U$ is random.

    $f$ is a convolution to `hidden_dim` channels, `blocks` residual blocks (BatchNorm, GELU,
    convolution over 3 places, dilated by 1 and 3 in turn, BatchNorm, GELU, 1x1 convolution),
    BatchNorm, GELU, and a 1x1 convolution. A last patch that is not full, and a gap, repeat the
    last real sample.

    Args:
        in_channels: Channels of the series.
        dim: Features of a vector. Components beyond those of a patch are 0.
        length: Samples of the series.
        patch: Samples of a patch.
        hidden_dim: Channels inside the network.
        blocks: Residual blocks.
        gaps: Whether it is told which values are observed: then a linear map of those that are
            missing, 0 at the start, is added to a patch's vector, so that a series without gaps is
            encoded as ever.
        generator: Source of the random basis, on the CPU; None is torch's own.

    Attributes:
        grid: Places of the result, `(frames,)`, one for each patch.

    Raises:
        ValueError: If a size is smaller than 1 (`blocks`: 0), or an input has other sizes.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import PatchDecoder1d, PatchEncoder1d
        >>> sizes = {"length": 50, "patch": 8}
        >>> encoder, decoder = PatchEncoder1d(3, 24, **sizes), PatchDecoder1d(3, 24, **sizes)
        >>> series = torch.randn(16, 3, 50)
        >>> _ = decoder.initialize(encoder.initialize(series))
        >>> latents = encoder(series)
        >>> latents.shape, encoder.grid
        (torch.Size([16, 24, 7]), (7,))
        >>> torch.allclose(decoder(latents), series, atol=1e-4)  # 24 components of 3 * 8 samples
        True

    References:
        Jolliffe, *Principal component analysis*, 2002, chapter 1.
        He et al., *Identity mappings in deep residual networks*, 2016,
        <https://arxiv.org/abs/1603.05027> (the blocks).
    """

    mean: Tensor

    def __init__(
        self,
        in_channels: int,
        dim: int,
        *,
        length: int,
        patch: int,
        hidden_dim: int = 64,
        blocks: int = 1,
        gaps: bool = False,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        _check_sizes("PatchEncoder1d", in_channels, dim, length, patch, hidden_dim, blocks)
        self.in_channels, self.dim, self.length, self.patch = in_channels, dim, length, patch
        self.hidden_dim, self.blocks, self.gaps = hidden_dim, blocks, gaps
        self.grid = (-(-length // patch),)
        self.register_buffer("mean", torch.zeros(in_channels * patch))
        self.basis = nn.Linear(in_channels * patch, dim, bias=False)
        nn.init.orthogonal_(self.basis.weight, generator=generator)
        self.network = _network(dim, hidden_dim, blocks)
        self.network.append(_zeroed(nn.Conv1d(hidden_dim, dim, 1)))
        self.missing = nn.Parameter(torch.zeros(dim, in_channels * patch)) if gaps else None

    @torch.no_grad()
    def initialize(self, series: Tensor, valid: Tensor | None = None) -> "PatchEncoder1d":
        """Take mean and basis from the patches of the training series, and return the encoder.

        Patches with a sample that is not real do not count. The same series give the same basis;
        the sign of a component is that of its largest sample.

        Args:
            series: `(batch, in_channels, length)`.
            valid: Boolean `(batch, length)`, True where a sample is real. By default all are.

        Raises:
            ValueError: If no patch is whole.
        """
        self._check(series, valid, least=1)
        real = torch.ones(len(series), self.length, dtype=torch.bool, device=series.device)
        real = (real if valid is None else valid).unsqueeze(1)
        tail = (0, self.grid[0] * self.patch - self.length)
        series, real = functional.pad(series, tail), functional.pad(real, tail)
        whole = patchify(real.double(), patch=self.patch).all(dim=2)
        patches = patchify(series, patch=self.patch)[whole].double()
        if len(patches) == 0:
            raise ValueError("PatchEncoder1d: a patch of the series must be whole; got none")
        mean = patches.mean(dim=0)
        centered = patches - mean
        power, vectors = torch.linalg.eigh(centered.T @ centered / len(patches))
        count = min(self.dim, len(power))
        power, components = power.flip(0)[:count], vectors.T.flip(0)[:count]
        largest = components.abs().argmax(dim=1, keepdim=True)
        components = components * components.gather(1, largest).sign()
        variance = power.mean()
        constant = variance <= 1e-20 * patches.square().mean()
        scale = torch.where(constant, 1.0, variance.rsqrt())
        self.basis.weight.zero_()
        self.basis.weight[:count] = (scale * components).to(self.basis.weight.dtype)
        self.mean.copy_(mean)
        return self

    def forward(
        self, series: Tensor, valid: Tensor | None = None, observed: Tensor | None = None
    ) -> Tensor:
        """Encode `(batch, in_channels, length)` as `(batch, dim, frames)`.

        Args:
            series: The series.
            valid: Boolean `(batch, length)`, True where a sample is real; the others are not read.
                By default all are.
            observed: Boolean, of the shape of `series`, False where a value is only a guess, such
                as that of `line_fill`; for an encoder with `gaps`. By default all are.
        """
        self._check(series, valid, least=least_batch(self.grid, training=self.training))
        if valid is not None:
            series = _hold(series, valid)
        filled = functional.pad(
            series, (0, self.grid[0] * self.patch - self.length), mode="replicate"
        )
        patches = patchify(filled, patch=self.patch)
        vectors = self.basis(patches - self.mean)
        if observed is not None:
            vectors = vectors + of_missing(
                "PatchEncoder1d", self.missing, series, valid, observed, patch=self.patch
            )
        latents = zero_padding(vectors.transpose(1, 2), valid)
        return zero_padding(latents + _run(self.network, latents, valid), valid)

    def _check(self, series: Tensor, valid: Tensor | None, *, least: int) -> None:
        who, sizes = "PatchEncoder1d", (self.in_channels, self.length)
        check_rows(who, "series", series, sizes, axes="batch channels length", least=least)
        check_valid(who, series, valid)


class PatchDecoder1d(nn.Module):
    r"""Turn the vectors of patches into the series: the transposed basis, and a small network.

    $$x_j = \mu + \tfrac{1}{s} U z_j, \qquad \hat x = x + g(z)$$

    The network $g$ is that of `PatchEncoder1d`, with a transposed convolution of two patches' width
    at its end, so that it can smooth their borders; it starts at 0.

    Args:
        in_channels: Channels of the series that the encoder read and this module returns.
        dim: Features of a vector.
        length: Samples of the series.
        patch: Samples of a patch.
        hidden_dim: Channels inside the network.
        blocks: Residual blocks.
        generator: Source of the random basis, on the CPU; None is torch's own.

    Attributes:
        grid: Places of the input, `(frames,)`.

    Raises:
        ValueError: If a size is smaller than 1 (`blocks`: 0), or an input has other sizes.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import PatchDecoder1d
        >>> decoder = PatchDecoder1d(3, 16, length=50, patch=8)
        >>> decoder(torch.randn(4, 16, *decoder.grid)).shape
        torch.Size([4, 3, 50])

    References:
        See `PatchEncoder1d`.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        *,
        length: int,
        patch: int,
        hidden_dim: int = 64,
        blocks: int = 1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        _check_sizes("PatchDecoder1d", in_channels, dim, length, patch, hidden_dim, blocks)
        self.in_channels, self.dim, self.length, self.patch = in_channels, dim, length, patch
        self.hidden_dim, self.blocks = hidden_dim, blocks
        self.grid = (-(-length // patch),)
        self.basis = nn.Linear(dim, in_channels * patch)
        nn.init.orthogonal_(self.basis.weight, generator=generator)
        nn.init.zeros_(self.basis.bias)
        self.network = _network(dim, hidden_dim, blocks)
        self.network.append(
            _zeroed(
                nn.ConvTranspose1d(
                    hidden_dim, in_channels, 2 * patch, stride=patch, padding=patch // 2
                )
            )
        )

    @torch.no_grad()
    def initialize(self, encoder: PatchEncoder1d) -> "PatchDecoder1d":
        """Take the transposed basis and the mean of an encoder, and return the decoder.

        Raises:
            ValueError: If the sizes of the encoder are not those of the decoder.
        """
        weight = encoder.basis.weight
        if weight.shape != self.basis.weight.T.shape:
            raise ValueError(
                f"PatchDecoder1d: encoder must have a basis {tuple(self.basis.weight.T.shape)}; "
                f"got {tuple(weight.shape)}"
            )
        scale = torch.linalg.matrix_norm(weight.double(), ord=2)  # one for all components
        self.basis.weight.copy_(weight.T / scale.square())
        self.basis.bias.copy_(encoder.mean)
        return self

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Decode `(batch, dim, frames)` as `(batch, in_channels, length)`.

        Args:
            latents: The vectors.
            valid: Boolean `(batch, frames)`, True where a vector is real; the others count as
                zeros. By default all are.
        """
        who, sizes = "PatchDecoder1d", (self.dim, *self.grid)
        least = least_batch(self.grid, training=self.training)
        check_rows(who, "latents", latents, sizes, axes="batch dim frames", least=least)
        check_valid(who, latents, valid)
        latents = zero_padding(latents, valid)
        patches = self.basis(latents.transpose(1, 2))
        series = unpatchify(patches, channels=self.in_channels, length=self.length)
        return series + _run(self.network, latents, valid)[..., : self.length]


class PatchBlock(nn.Module):
    """Add to the input what two convolutions make of it."""

    def __init__(self, dim: int, *, dilation: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            ValidBatchNorm1d(dim),
            nn.GELU(),
            nn.Conv1d(dim, dim, 3, padding=dilation, dilation=dilation),
            ValidBatchNorm1d(dim),
            nn.GELU(),
            nn.Conv1d(dim, dim, 1),
        )

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Keep the shape `(batch, dim, frames)`."""
        added = x
        for layer in self.residual:
            added = apply_layer(layer, added, valid)
        return x + added


def _network(dim: int, hidden_dim: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(dim, hidden_dim, 3, padding=1),
        *[PatchBlock(hidden_dim, dilation=1 + 2 * (index % 2)) for index in range(blocks)],
        ValidBatchNorm1d(hidden_dim),
        nn.GELU(),
    )


def _run(network: nn.Sequential, x: Tensor, valid: Tensor | None) -> Tensor:
    """Apply the network; every norm makes zeros of what is not real."""
    for layer in network:
        x = layer(x, valid) if isinstance(layer, PatchBlock) else apply_layer(layer, x, valid)
    return x


def _zeroed(layer: nn.Conv1d | nn.ConvTranspose1d) -> nn.Module:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _hold(series: Tensor, valid: Tensor) -> Tensor:
    """Repeat the last real sample where none is; zeros before the first."""
    series = torch.where(valid.unsqueeze(1), series, 0)
    places = torch.arange(valid.shape[1], device=valid.device)
    last = torch.where(valid, places, 0).cummax(dim=1).values
    return series.gather(2, last.unsqueeze(1).expand(series.shape))


def _check_sizes(
    who: str, in_channels: int, dim: int, length: int, patch: int, hidden_dim: int, blocks: int
) -> None:
    sizes = {"in_channels": in_channels, "dim": dim, "length": length, "patch": patch}
    for name, size in (sizes | {"hidden_dim": hidden_dim}).items():
        check_at_least(who, name, size, 1)
    check_at_least(who, "blocks", blocks, 0)
