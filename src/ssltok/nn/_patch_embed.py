"""From a series to tokens: patches of samples, each projected to a vector."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_integer,
    check_size,
)

__all__ = ["PatchEmbed1d", "patch_valid", "patchify", "unpatchify"]


def patchify(
    series: Tensor, *, patch: int, stride: int | None = None, valid: Tensor | None = None
) -> Tensor:
    r"""Cut a series into patches of `patch` samples of all channels, one every `stride` samples.

    The first patch starts at the first sample. If the last one does not end at the last sample,
    zeros are appended until it does: no sample is lost. There are
    $1 + \lceil (\mathrm{length} - \mathrm{patch}) / \mathrm{stride} \rceil$ patches, and one where
    the series is shorter than a patch. `patch_valid` says which values are samples.

    Args:
        series: `(batch, channels, length)`, at least one sample long.
        patch: Samples of a patch.
        stride: Samples from patch to patch, 1 to `patch`; `patch` by default.
        valid: `(batch, length)`, boolean, True where a sample is real; the others become zeros.

    Returns:
        The patches, `(batch, tokens, channels * patch)`, channel by channel.

    Raises:
        ValueError: If the series is empty, or an option is out of range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import patchify
        >>> patchify(torch.arange(1.0, 6).view(1, 1, 5), patch=2)
        tensor([[[1., 2.],
                 [3., 4.],
                 [5., 0.]]])
    """
    stride = patch if stride is None else stride
    _check_sizes("patchify", patch, stride)
    _check_series("patchify", series, valid)
    tokens = _count("patchify", series.shape[2], patch, stride)
    if valid is not None:
        series = series.masked_fill(~valid.unsqueeze(1), 0)  # NaN must not reach a product
    return _cut(series, patch, stride, tokens)


def patch_valid(valid: Tensor, *, channels: int, patch: int, stride: int | None = None) -> Tensor:
    """Say which values of `patchify` are real samples: not beyond the end, not missing.

    The `valid` of `masked_reconstruction_loss` for patches of samples: what was appended to the
    last patch has no error then, and no part in its mean and variance.

    Args:
        valid: True where a sample is real, `(batch, length)` for padding or
            `(batch, channels, length)` for missing values.
        channels: Channels of the series.
        patch: Samples of a patch.
        stride: Samples from patch to patch, 1 to `patch`; `patch` by default.

    Returns:
        A boolean mask, `(batch, tokens, channels * patch)`, channel by channel.

    Raises:
        ValueError: If `valid` is not such a mask or empty, or an option is out of range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import patch_valid
        >>> patch_valid(torch.ones(1, 5, dtype=torch.bool), channels=1, patch=2)
        tensor([[[ True,  True],
                 [ True,  True],
                 [ True, False]]])
    """
    who = "patch_valid"
    stride = patch if stride is None else stride
    _check_sizes(who, patch, stride)
    check_at_least(who, "channels", channels, 1)
    if valid.ndim == 2:
        valid = valid.unsqueeze(1).expand(-1, channels, -1)
    check_axes(who, "valid", valid, "batch channels length")
    check_bool_mask(who, "valid", valid, valid.shape)
    check_size(who, "valid", valid, 1, channels)
    check_at_least(who, "batch", valid.shape[0], 1)
    return _cut(valid, patch, stride, _count(who, valid.shape[2], patch, stride))


def unpatchify(patches: Tensor, *, channels: int, length: int) -> Tensor:
    """Join patches that do not overlap: the inverse of `patchify` with its default stride.

    Args:
        patches: `(batch, tokens, channels * patch)`.
        channels: Channels of the series.
        length: Samples of the series; what the last patch holds beyond them is cut off.

    Returns:
        The series, `(batch, channels, length)`.

    Raises:
        ValueError: If `channels` does not divide the features of a patch, or `length` does not
            end in the last patch.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import patchify, unpatchify
        >>> x = torch.arange(14.0).view(1, 2, 7)
        >>> torch.equal(unpatchify(patchify(x, patch=3), channels=2, length=7), x)
        True
    """
    who = "unpatchify"
    check_axes(who, "patches", patches, "batch tokens dim")
    check_at_least(who, "channels", channels, 1)
    tokens, dim = patches.shape[1:]
    if dim < 1 or dim % channels:
        raise ValueError(f"{who}: channels must divide dim; got {channels} and {dim}")
    patch = dim // channels
    if not (tokens - 1) * patch < length <= tokens * patch:
        raise ValueError(
            f"{who}: length must end in the last patch, "
            f"in [{(tokens - 1) * patch + 1}, {tokens * patch}]; got {length}"
        )
    pattern = "batch tokens (channels patch) -> batch channels (tokens patch)"
    series = rearrange(patches, pattern, channels=channels)
    return series[..., :length]


class PatchEmbed1d(nn.Module):
    r"""Embed each patch of a series by one linear map: the tokens of a vision transformer.

    Patches are those of `patchify`: the tail is filled up with zeros, nothing is dropped
    (PatchTST's code drops the oldest samples where the length does not divide). With `valid`,
    samples that are not real count as zeros, and a **token is real if it brings a real sample that
    the token before it does not hold**. For padding at the end that is exactly the number of
    tokens of the truncated series, whatever the stride; see `token_valid`.

    Args:
        in_channels: Channels of the series. A patch holds all of them; for a token of its own for
            each channel (PatchTST) fold the channels into the batch.
        dim: Features of a token.
        patch: Samples of a patch.
        stride: Samples from patch to patch, 1 to `patch`; `patch` by default.
        observed_mask: Whether a patch also tells which of its values are real, 1 or 0 behind the
            values (MOMENT, Chronos-2): a missing value then differs from a 0, and the last patch
            says where the series ends. Doubles the inputs of the map.

    Raises:
        ValueError: If a size is out of range, or the series has other channels or is empty, or
            `observed` is given without `observed_mask`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import PatchEmbed1d
        >>> embed = PatchEmbed1d(3, 16, patch=8)
        >>> embed.tokens(100), embed(torch.randn(2, 3, 100)).shape
        (13, torch.Size([2, 13, 16]))

    References:
        Dosovitskiy et al., *ViT*, 2020, <https://arxiv.org/abs/2010.11929>, equation 1.
        Nie et al., *PatchTST*, 2022, <https://arxiv.org/abs/2211.14730>, section 3.1.
        Ansari et al., *Chronos-2*, 2025, <https://arxiv.org/abs/2510.15821>.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        *,
        patch: int,
        stride: int | None = None,
        observed_mask: bool = False,
    ) -> None:
        super().__init__()
        check_at_least("PatchEmbed1d", "in_channels", in_channels, 1)
        check_at_least("PatchEmbed1d", "dim", dim, 1)
        self.in_channels, self.dim = in_channels, dim
        self.patch, self.stride = patch, patch if stride is None else stride
        _check_sizes("PatchEmbed1d", self.patch, self.stride)
        self.observed_mask = observed_mask
        self.projection = nn.Linear((1 + observed_mask) * in_channels * patch, dim)

    def tokens(self, length: int) -> int:
        """Count the tokens of a series of `length` samples.

        Raises:
            ValueError: If the series is shorter than a sample.
            TypeError: If the length is not a number.
        """
        return _count("PatchEmbed1d", length, self.patch, self.stride)

    def token_valid(self, valid: Tensor) -> Tensor:
        """Say which tokens are real, `(batch, tokens)`, from the real samples `(batch, length)`.

        Raises:
            ValueError: If `valid` is not boolean, or not of that shape.
            TypeError: If it is not a tensor.
        """
        check_axes("PatchEmbed1d", "valid", valid, "batch length")
        check_bool_mask("PatchEmbed1d", "valid", valid, valid.shape)
        # By index, not by slices: so a graph can be exported for all lengths at once.
        token = torch.arange(self.tokens(valid.shape[1]), device=valid.device)
        new = torch.arange(self.patch - self.stride, self.patch, device=valid.device)
        places = token.unsqueeze(1) * self.stride + new
        real = functional.pad(valid, (0, self.stride - 1))[:, places].any(dim=2)
        before = valid[:, : self.patch - self.stride].any(dim=1, keepdim=True)
        return real | (before & (token == 0))  # all samples of the first patch are new

    def forward(
        self, series: Tensor, *, valid: Tensor | None = None, observed: Tensor | None = None
    ) -> Tensor:
        """Embed `(batch, channels, length)` as `(batch, tokens, dim)`.

        Args:
            series: The series.
            valid: `(batch, length)`, boolean, True where a sample is real. What stands elsewhere
                is not read; a token that is not real means nothing.
            observed: `(batch, channels, length)`, boolean, False where a value is missing: it is
                not read either, but its token stays. For an embedding with `observed_mask`.
        """
        _check_series("PatchEmbed1d", series, valid)
        check_size("PatchEmbed1d", "series", series, 1, self.in_channels)
        self.tokens(series.shape[2])
        if observed is not None:
            check_bool_mask("PatchEmbed1d", "observed", observed, series.shape)
            if not self.observed_mask:
                raise ValueError(
                    "PatchEmbed1d: observed must be None without observed_mask; got a tensor"
                )
            series = series.masked_fill(~observed, 0)
        patches = patchify(series, patch=self.patch, stride=self.stride, valid=valid)
        if self.observed_mask:
            real = torch.ones_like(series, dtype=torch.bool) if observed is None else observed
            real = real if valid is None else real & valid.unsqueeze(1)
            cut = _cut(real, self.patch, self.stride, patches.shape[1])
            patches = torch.cat([patches, cut.to(patches.dtype)], dim=2)
        if torch.compiler.is_exporting():
            # A product for each series: torch cannot join axes of unknown length for all of them.
            weight = self.projection.weight.T.expand(len(patches), -1, -1)
            return patches @ weight + self.projection.bias
        embedded: Tensor = self.projection(patches)
        return embedded


def _check_sizes(who: str, patch: int, stride: int) -> None:
    check_at_least(who, "patch", patch, 1)
    check_integer(who, "stride", stride)
    if not 1 <= stride <= patch:
        raise ValueError(f"{who}: stride must lie in [1, {patch}]; got {stride}")


def _check_series(who: str, series: Tensor, valid: Tensor | None) -> None:
    check_axes(who, "series", series, "batch channels length")
    check_floating(who, "series", series)
    check_at_least(who, "batch", series.shape[0], 1)
    check_at_least(who, "channels", series.shape[1], 1)
    if valid is not None:
        check_bool_mask(who, "valid", valid, (series.shape[0], series.shape[2]))


def _count(who: str, length: int, patch: int, stride: int) -> int:
    check_at_least(who, "length", length, 1)
    return 1 if length < patch else 1 + (length - patch + stride - 1) // stride


def _cut(series: Tensor, patch: int, stride: int, tokens: int) -> Tensor:
    """Cut `(batch, channels, length)` into patches, zeros or False appended."""
    missing = patch + (tokens - 1) * stride - series.shape[2]
    patches = functional.pad(series, (0, missing)).unfold(2, patch, stride)
    return rearrange(patches, "batch channels tokens patch -> batch tokens (channels patch)")
