"""What the parts of a tokenizer must have; nothing inherits from a protocol.

`ssltok.testing` holds a contract test for each, for people who write parts of their own. Here a
part that lacks a member is refused when the model is built.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Protocol

from ssltok._shared.modes import evaluation_mode

__all__ = [
    "Decoder",
    "Encoder",
    "Transform",
    "check_branch",
    "check_members",
    "check_prior",
    "check_shapes",
    "check_transform",
]


class Transform(Protocol):
    """From series to the bands that the branches read, and back; linear.

    Attributes:
        length: Samples of a series.
        bands: How many bands there are.
        margin: Samples to either side of a moment that a place of a band reads there.
        in_time: Whether the bands are series already, so that their error is counted once.
    """

    length: int
    bands: int
    margin: int
    in_time: bool

    def shape(self, band: int, channels: int) -> tuple[int, ...]:
        """Axes of a band of series with so many channels, without the batch."""
        ...

    def __call__(self, series: Tensor) -> list[Tensor]:
        """Turn `(batch, channels, length)` into bands."""
        ...

    def inverse(self, bands: Sequence[Tensor]) -> list[Tensor]:
        """Turn each band into its share of the series; the sum is the series."""
        ...

    def real(self, valid: Tensor) -> list[Tensor]:
        """Mark what no missing sample is in, by band; each mask broadcasts to its band."""
        ...

    def within(self, within: Tensor) -> list[Tensor]:
        """Turn what is before a series' end, `(batch, length)`, into `(batch, columns)` by band."""
        ...


class Encoder(Protocol):
    """From a band to latents at the places of a grid.

    Attributes:
        dim: Channels of the latents.
        grid: The axes of the places, time last: `(freq, frames)` or `(frames,)`.
    """

    dim: int
    grid: tuple[int, ...]

    def __call__(self, band: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encode a band as `(batch, dim, *grid)`; `valid`, `(batch, columns)`, is True where real.

        What stands in the padding must not reach the latents of real places, nor a statistic.
        """
        ...


class Decoder(Protocol):
    """From vectors at the places of a grid back to the band that the encoder read."""

    def __call__(self, vectors: Tensor, valid: Tensor | None = None) -> Tensor:
        """Decode `(batch, dim, *grid)`; `valid`, `(batch, grid[-1])`, is True where real."""
        ...


PRIOR = (
    "sizes", "classes", "codebook_sizes", "codes_per_token", "mask_index", "context", "logits_of",
)  # fmt: skip
QUANTIZER = (
    "dim", "channel_dim", "code_shape", "codebook_size", "codebook_sizes", "encode", "decode",
    "update", "initialize", "revive",
)  # fmt: skip


def check_members(who: str, name: str, part: Any, members: Sequence[str]) -> None:
    """Ask that a part is a module with these members."""
    if not isinstance(part, nn.Module):
        raise TypeError(f"{who}: {name} must be a module; got {type(part).__name__}")
    missing = [member for member in members if not hasattr(part, member)]
    if missing:
        raise TypeError(
            f"{who}: {name} must have {', '.join(members)}; "
            f"got {type(part).__name__} without {', '.join(missing)}"
        )


def check_transform(who: str, transform: Any) -> None:
    """Ask for the members of `Transform`."""
    members = ("length", "bands", "margin", "in_time", "shape", "inverse", "real", "within")
    check_members(who, "transform", transform, members)


def check_branch(who: str, encoder: Any, quantizer: Any, decoder: Any) -> None:
    """Ask for the members of an encoder, a quantizer and a decoder that fit each other."""
    check_members(who, "encoder", encoder, ("dim", "grid"))
    check_members(who, "quantizer", quantizer, QUANTIZER)
    check_members(who, "decoder", decoder, ())
    if quantizer.dim != encoder.dim:
        raise ValueError(
            f"{who}: encoder and quantizer must share dim; got {encoder.dim} and {quantizer.dim}"
        )


def check_prior(who: str, prior: Any, tokenizer: Any, classes: int) -> None:
    """Ask for the members of a prior, and that it is one of these tokens and labels."""
    check_members(who, "prior", prior, PRIOR)
    for name, value, wanted in (
        ("sizes", list(prior.sizes), list(tokenizer.sizes)),
        ("codebook_sizes", *(list(map(list, x.codebook_sizes)) for x in (prior, tokenizer))),
        ("classes", prior.classes, classes),
    ):
        if value != wanted:
            raise ValueError(
                f"{who}: prior and tokenizer must agree in {name}, {wanted}; got {value}"
            )


@torch.no_grad()
def check_shapes(who: str, transform: Any, branches: Sequence[Any], *, channels: int) -> None:
    """Take one series of zeros through every branch: parts that do not fit are found here.

    In evaluation mode, so nothing is drawn and no statistic moves.
    """
    like = next((p for p in nn.ModuleList(branches).parameters()), torch.zeros(()))
    series = torch.zeros(1, channels, transform.length, dtype=like.dtype, device=like.device)
    for number, (branch, band) in enumerate(zip(branches, transform(series), strict=True)):
        name = f"{who}: branch {number}"
        with evaluation_mode(branch):
            try:
                latents = branch.latents(band)
            except (RuntimeError, TypeError, ValueError) as error:
                shape = tuple(band.shape)
                raise ValueError(
                    f"{name}: encoder must take a band {shape}; got {error}"
                ) from error
            wanted = (1, branch.dim, *branch.grid)
            if tuple(latents.shape) != wanted:
                raise ValueError(
                    f"{name}: encoder must return latents (batch, dim, *grid) {wanted}; "
                    f"got {tuple(latents.shape)}"
                )
            result = branch.quantize(latents)
            if result.vectors.shape != latents.shape:
                raise ValueError(
                    f"{name}: quantizer must return vectors of the latents' shape {wanted}; "
                    f"got {tuple(result.vectors.shape)}"
                )
            try:
                rebuilt = branch.decode(result.vectors)
            except (RuntimeError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{name}: decoder must take vectors {wanted}; got {error}"
                ) from error
            if rebuilt.shape != band.shape:
                raise ValueError(
                    f"{name}: decoder must return the band {tuple(band.shape)}; "
                    f"got {tuple(rebuilt.shape)}"
                )
