"""Values as tokens: scaled by their mean size, then cut into bins of one width (Chronos)."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_codes,
    check_floating,
    check_positive,
    check_same_shape,
)
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["ValueCodes", "value_codes", "value_series"]


class ValueCodes(NamedTuple):
    """What `value_codes` returns, and `value_series` needs.

    Attributes:
        codes: `(batch, channels, length)`.
        scale: Of each channel of each series, `(batch, channels, 1)`, in at least float32.
    """

    codes: Tensor
    scale: Tensor


def value_codes(
    series: Tensor, valid: Tensor | None = None, *, bins: int, limit: float = 15.0
) -> ValueCodes:
    r"""Turn every value into a code, without anything that is learned.

    $$s = \frac{1}{n} \sum_t \lvert x_t \rvert, \qquad
      k_t = \arg\min_k \lvert x_t / s - c_k \rvert$$

    with `bins` centres $c_k$ from $-\text{limit}$ to $\text{limit}$ at one distance, for each
    channel of each series. What lies beyond the limits gets the first or the last code; half-way
    between two centres the upper one is taken, as in the authors' code.

    Args:
        series: `(batch, channels, length)`. NaN is a missing value, as in Chronos.
        valid: True where a value is real, `(batch, length)` or `(batch, channels, length)`. By
            default all are but NaN.
        bins: Number of codes, at least 2; Chronos has 4093.
        limit: The outermost centre, in units of the scale; Chronos has 15.

    Returns:
        `ValueCodes(codes, scale)`: int64 codes, -1 where a value is not real. The scale of a
        channel without a real value, or of zeros alone, is 1.

    Raises:
        ValueError: If shapes or dtypes do not fit, or an option is out of range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.signal import value_codes
        >>> value_codes(torch.tensor([[[-2.0, 0.0, 1.0, 5.0]]]), bins=5, limit=2.0)
        ValueCodes(codes=tensor([[[1, 2, 3, 4]]]), scale=tensor([[[2.]]]))

    References:
        Ansari et al., *Chronos*, 2024, <https://arxiv.org/abs/2403.07815>, section 3.1, and its
        `MeanScaleUniformBins`.
    """
    who = "value_codes"
    check_floating(who, "series", series)
    check_axes(who, "series", series, "batch channels length")
    check_at_least(who, "series.numel()", series.numel(), 1)
    check_at_least(who, "bins", bins, 2)
    check_positive(who, "limit", limit)
    if valid is not None:
        by_row = valid.ndim == 2
        shape = (series.shape[0], series.shape[2]) if by_row else tuple(series.shape)
        check_bool_mask(who, "valid", valid, shape)
        valid = valid.unsqueeze(1) if by_row else valid
    with torch.no_grad(), full_precision(series):
        values = upcast(series)
        real = ~values.isnan() if valid is None else ~values.isnan() & valid
        values = values.masked_fill(~real, 0)
        scale = values.abs().sum(-1, keepdim=True) / real.sum(-1, keepdim=True).clamp(min=1)
        scale = torch.where(scale > 0, scale, 1.0)
        centres = _centres(values, bins, limit)
        edges = (centres[1:] + centres[:-1]) / 2
        codes = torch.bucketize((values / scale).contiguous(), edges, right=True)
        return ValueCodes(codes.masked_fill(~real, -1), scale)


def value_series(codes: Tensor, scale: Tensor, *, bins: int, limit: float = 15.0) -> Tensor:
    """Turn codes of `value_codes` back into values: the centres of their bins, times the scale.

    Args:
        codes: int64 `(batch, channels, length)`, below `bins`; -1 where there is no value.
        scale: `(batch, channels, 1)`, as `value_codes` returns it.
        bins: As there.
        limit: As there.

    Returns:
        The series, `(batch, channels, length)`, in the dtype of `scale`; NaN at codes of -1.

    Raises:
        ValueError: If shapes or dtypes do not fit, or an option is out of range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.signal import value_series
        >>> value_series(torch.tensor([[[1, 2, -1]]]), torch.tensor([[[2.0]]]), bins=5, limit=2.0)
        tensor([[[-2.,  0., nan]]])
    """
    who = "value_series"
    check_codes(who, "codes", codes)
    check_axes(who, "codes", codes, "batch channels length")
    check_floating(who, "scale", scale)
    check_at_least(who, "codes.numel()", codes.numel(), 1)
    check_same_shape(who, "scale and codes[..., :1]", scale, codes[..., :1])
    check_at_least(who, "bins", bins, 2)
    check_positive(who, "limit", limit)
    centres = _centres(scale, bins, limit)
    values = centres[codes.where(codes >= 0, 0)] * scale
    return values.masked_fill(codes == -1, torch.nan)


def _centres(like: Tensor, bins: int, limit: float) -> Tensor:
    return torch.linspace(-limit, limit, bins, dtype=like.dtype, device=like.device)
