"""Low-dimensional codes: quantize a projection of the latents, and project back."""

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_codes, check_integer
from ssltok._shared.numerics import full_precision
from ssltok.quantizers._layout import Flat, channels_to, flatten
from ssltok.quantizers._nested import NestedQuantizer, check_parts, check_widths
from ssltok.quantizers._quantized import Quantized, Quantizer

__all__ = ["ProjectedQuantizer"]


class ProjectedQuantizer(NestedQuantizer):
    r"""Look codes up in few dimensions, whatever the width of the latents.

    $$\tilde q = W_o\, Q(W_i\, x + b_i) + b_o$$

    Distances in 8 dimensions or so separate codes better than in 128 (factorised codes), and the
    search costs less. It wraps any quantizer: `ProjectedQuantizer(VectorQuantizer(8, 512), 128)`,
    `ProjectedQuantizer(GroupedQuantizer([VectorQuantizer(8, 512)] * 4), 128)` for four heads that
    share a codebook. Both projections learn by gradient; the losses of the wrapped quantizer live
    in its own dimensions. The projections run in the precision of their parameters, also under
    autocast, so that `forward` gives exactly what `decode` gives.

    Args:
        quantizer: Any quantizer with `channel_dim=-1`; its `dim` is the codes' dimension.
        dim: Channels of the latents.
        channel_dim: Where the channels are.
        generator: Source of the projections' first values, uniform with bound
            $1 / \sqrt{\text{fan in}}$ as in `nn.Linear`.

    Attributes:
        codebook_size: That of the wrapped quantizer, as are `codebook_sizes` and `code_shape`.
        learns_by_vectors: True: the projections do.

    Raises:
        TypeError: If `quantizer` is none: it misses a member of the protocol.
        ValueError: If it has another `channel_dim`, other codes than it says or vectors of another
            width than its `dim`, or if `dim < 1`.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import ProjectedQuantizer, VectorQuantizer
        >>> quantizer = ProjectedQuantizer(VectorQuantizer(2, 16), 6, channel_dim=1)
        >>> quantized = quantizer(torch.zeros(3, 6, 5))
        >>> quantized.vectors.shape, quantized.codes.shape
        (torch.Size([3, 6, 5]), torch.Size([3, 5]))

    References:
        Yu et al., *Vector-quantized image modeling with improved VQGAN*, 2021,
        <https://arxiv.org/abs/2110.04627>, section 3.2 (factorized codes).
    """

    def __init__(
        self,
        quantizer: nn.Module,
        dim: int,
        *,
        channel_dim: int = -1,
        generator: torch.Generator | None = None,
    ) -> None:
        parts = check_parts("ProjectedQuantizer", [quantizer])
        check_widths("ProjectedQuantizer", parts)
        check_at_least("ProjectedQuantizer", "dim", dim, 1)
        super().__init__(
            parts,
            code_shape=parts[0].code_shape,
            codebook_sizes=tuple(parts[0].codebook_sizes),
            learns_by_vectors=True,
        )
        self.quantizer = quantizer
        self.dim = dim
        check_integer("ProjectedQuantizer", "channel_dim", channel_dim)
        self.channel_dim = channel_dim
        self.project_in = nn.Linear(dim, self._inner.dim)
        self.project_out = nn.Linear(self._inner.dim, dim)
        for layer in (self.project_in, self.project_out):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)

    @property
    def codebook(self) -> Tensor:
        """The wrapped codebook, projected, `(codebook_size, dim)`."""
        inner = self._inner.codebook
        if tuple(inner.shape) != (self.codebook_size, self._inner.dim):
            raise ValueError(
                "ProjectedQuantizer: codebook needs one code for each vector inside; "
                f"got a codebook of shape {tuple(inner.shape)}"
            )
        return self._out(inner)

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents of any rank from 2; see `Quantized` for what comes back."""
        flat = self._flatten(latents, valid)
        grid = flat.for_parts(training=self.training)
        real = None if flat.real is None else grid.to_grid(flat.real)
        inner = self._inner(grid.to_grid(self._in(flat.tokens)), real)
        return Quantized(
            flat.restore_vectors(self._out(grid.to_rows(inner.vectors))),
            flat.restore_codes(grid.to_rows(inner.codes)),
            inner.loss,
        )

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes only, int64, -1 at padding."""
        flat = self._flatten(latents, valid)
        return flat.restore_codes(self._inner.encode(self._in(flat.tokens), flat.real))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes with the channels at `channel_dim`; 0 for -1."""
        inner = self._inner.decode(codes)
        axes = tuple(range(codes.ndim - len(self.code_shape), codes.ndim))
        padding = (codes < 0).all(dim=axes) if axes else codes < 0
        vectors = self._out(inner.reshape(-1, inner.shape[-1])).reshape(*inner.shape[:-1], self.dim)
        vectors = torch.where(padding[..., None], 0.0, vectors)
        return channels_to("ProjectedQuantizer", vectors, self.channel_dim, codes)

    def project(self, latents: Tensor) -> Tensor:
        """Return what the wrapped quantizer sees, with its channels last."""
        flat = self._flatten(latents, None)
        return flat.to_grid(self._in(flat.tokens))

    def _flatten(self, latents: Tensor, valid: Tensor | None) -> Flat:
        return flatten(
            "ProjectedQuantizer",
            latents,
            valid,
            dim=self.dim,
            channel_dim=self.channel_dim,
            dtype=self.project_in.weight.dtype,
        )

    def _parts(self) -> list[Quantizer]:
        return [self._inner]

    def _split(self, codes: Tensor) -> tuple[Tensor, ...]:
        check_codes("ProjectedQuantizer", "codes", codes)
        return (codes,)

    def _given(self, tokens: Tensor, codes: list[Tensor]) -> list[Tensor]:
        return [self._in(tokens)]

    def _starts(self, flat: Flat) -> Iterator[tuple[Quantizer, Tensor, Tensor | None]]:
        yield self._inner, self._in(flat.tokens), flat.real

    def _in(self, tokens: Tensor) -> Tensor:
        with full_precision(tokens):
            return F.linear(tokens, self.project_in.weight, self.project_in.bias)

    def _out(self, vectors: Tensor) -> Tensor:
        layer = self.project_out
        with full_precision(vectors):
            return F.linear(vectors.to(layer.weight.dtype), layer.weight, layer.bias)

    @property
    def _inner(self) -> Quantizer:
        return cast("Quantizer", self.quantizer)
