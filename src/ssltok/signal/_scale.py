"""Scalers: from the user's units to mean 0 and standard deviation 1, and exactly back."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_same_shape,
    check_size,
)
from ssltok._shared.moments import Moments, merge_moments

__all__ = ["ChannelScaler", "GlobalScaler", "Scaled", "SeriesScaler"]


class Scaled(NamedTuple):
    """What `SeriesScaler` and `RevIN` return: the scaled series, and what `inverse` needs.

    Attributes:
        values: The scaled series, `(batch, channels, length)`.
        mean: What was taken away, `(batch, channels, 1)`.
        scale: By what was divided, `(batch, channels, 1)`.
    """

    values: Tensor
    mean: Tensor
    scale: Tensor


class _FittedScaler(nn.Module):
    """Statistics of the training data in two buffers, which are empty before `fit`."""

    mean: Tensor
    scale: Tensor
    _axes: tuple[int, ...]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.empty(0))
        self.register_buffer("scale", torch.empty(0))

    def fit(self, series: Tensor, valid: Tensor | None = None) -> Self:
        """Take mean and standard deviation from the training series; replaces earlier ones.

        Args:
            series: `(batch, channels, length)`. Values that are not `valid` may be anything,
                NaN among them; without `valid` every value counts.
            valid: True where a value is real, `(batch, length)` for padding or
                `(batch, channels, length)` for missing values; by default all are.

        Returns:
            The scaler itself.

        Raises:
            ValueError: If `series` is not floating point, or not of that shape, or empty, or if
                `valid` is not boolean or of another shape.
        """
        who = type(self).__name__
        valid = _check_series(who, series, valid)
        dtype = torch.promote_types(series.dtype, torch.float32)
        mean, scale = _statistics(series.detach().double(), valid, self._axes)
        scale = scale.to(dtype)
        self.mean = mean.to(dtype).squeeze(0)
        self.scale = torch.where(scale == 0, 1.0, scale).squeeze(0)
        return self

    def fit_moments(self, moments: Moments) -> Self:
        """Take mean and standard deviation from the moments of each channel: see `fit`.

        For series that do not fit into memory, whose moments were summed in one pass. The result
        is that of `fit` on the same series in float32, bit for bit where they were one block.

        Args:
            moments: Count, mean, sum of squares about the mean, lowest and highest value of each
                channel, float64 `(channels,)`.

        Returns:
            The scaler itself.
        """
        if 1 in self._axes:
            moments = merge_moments(Moments(*(part[:, None] for part in moments)))
        count = moments.counts.clamp(min=1)
        variance = moments.squares / count
        flat = (moments.high <= moments.low) | (variance == 0)
        self.mean = moments.mean.float()[:, None]
        self.scale = torch.where(flat, 1.0, variance).sqrt().float()[:, None]
        self.scale = torch.where(self.scale == 0, 1.0, self.scale)
        return self

    def forward(self, series: Tensor) -> Tensor:
        """Return the series with mean 0 and standard deviation 1, in the dtype it came in."""
        self._check("series", series)
        dtype = torch.promote_types(series.dtype, torch.float32)
        mean, scale = self.mean.to(dtype), self.scale.to(dtype)
        return ((series.to(dtype) - mean) / scale).to(series.dtype)

    def inverse(self, values: Tensor) -> Tensor:
        """Return scaled values in the original units, in the dtype they came in."""
        self._check("values", values)
        dtype = torch.promote_types(values.dtype, torch.float32)
        mean, scale = self.mean.to(dtype), self.scale.to(dtype)
        return (values.to(dtype) * scale + mean).to(values.dtype)

    def _check(self, name: str, series: Tensor) -> None:
        who = type(self).__name__
        if self.mean.numel() == 0:
            raise ValueError(f"{who}: fit must come first; got no statistics")
        check_floating(who, name, series)
        check_axes(who, name, series, "batch channels length")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:  # noqa: FBT001, FBT002
        """Move with the model, but stay in float32 or float64: units do not survive less."""
        state = {"mean": self.mean, "scale": self.scale}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in state.items():
            moved = getattr(self, name)
            if moved.dtype not in (torch.float32, torch.float64):
                setattr(self, name, buffer.to(moved.device))
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Make room for statistics of any number of channels, then load them."""
        for name in ("mean", "scale"):
            stored = state_dict.get(prefix + name)
            if isinstance(stored, Tensor):
                room = torch.empty(stored.shape, dtype=stored.dtype, device=self.mean.device)
                setattr(self, name, room)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class ChannelScaler(_FittedScaler):
    r"""Scale each channel by its own mean and standard deviation over the training series.

    $$y_{b,c,t} = (x_{b,c,t} - \mu_c) / \sigma_c$$

    with the population standard deviation (divided by the count) of the real values. A channel
    that is constant in the training data, or that has no real value, gets $\sigma_c = 1$ (and
    $\mu_c = 0$ if it has none), so that nothing is divided by zero. Statistics are summed in
    float64 and kept in float32 (float64 for float64 series), whatever the model is cast to.
    `fit` writes them, `forward` and `inverse` read them, `state_dict` carries them.

    Example:
        >>> import torch
        >>> from ssltok.signal import ChannelScaler
        >>> series = torch.tensor([[[1.0, 3.0], [7.0, 7.0]]])  # means 2, 7; deviations 1, 0
        >>> scaler = ChannelScaler().fit(series)
        >>> scaler(series)
        tensor([[[-1.,  1.],
                 [ 0.,  0.]]])
        >>> torch.equal(scaler.inverse(scaler(series)), series)
        True
    """

    _axes = (0, 2)

    def _check(self, name: str, series: Tensor) -> None:
        super()._check(name, series)
        check_size("ChannelScaler", name, series, 1, self.mean.shape[0])


class GlobalScaler(_FittedScaler):
    r"""Scale all channels by one mean and one standard deviation over the training series.

    $$y_{b,c,t} = (x_{b,c,t} - \mu) / \sigma$$

    Keeps the proportions between channels that share a unit. Otherwise as `ChannelScaler`.

    Example:
        >>> import torch
        >>> from ssltok.signal import GlobalScaler
        >>> series = torch.tensor([[[1.0, 3.0], [7.0, 9.0]]])  # mean 5, variance 10
        >>> GlobalScaler().fit(series).mean
        tensor([[5.]])
    """

    _axes = (0, 1, 2)


class SeriesScaler(nn.Module):
    r"""Scale each channel of each series by its own mean and standard deviation.

    $$y_{b,c,t} = (x_{b,c,t} - \mu_{b,c}) / \sigma_{b,c}$$

    with the population standard deviation of the real values. It holds no statistics and has no
    `fit`: level and size of every series leave with the result, and whoever generates series must
    supply them. A constant channel of a series, or one without a real value, gets
    $\sigma_{b,c} = 1$. Gradients pass through the statistics.

    Example:
        >>> import torch
        >>> from ssltok.signal import SeriesScaler
        >>> scaler = SeriesScaler()
        >>> scaled = scaler(torch.tensor([[[1.0, 3.0]], [[20.0, 60.0]]]))
        >>> scaled.values[:, 0], scaled.mean[:, 0, 0], scaled.scale[:, 0, 0]
        (tensor([[-1.,  1.],
                [-1.,  1.]]), tensor([ 2., 40.]), tensor([ 1., 20.]))
        >>> scaler.inverse(*scaled)[:, 0]
        tensor([[ 1.,  3.],
                [20., 60.]])
    """

    def forward(self, series: Tensor, valid: Tensor | None = None) -> Scaled:
        """Return the scaled series with the statistics that undo it.

        Args:
            series: `(batch, channels, length)`.
            valid: True where a value is real, `(batch, length)` or `(batch, channels, length)`;
                the others take no part in the statistics. By default all are real.

        Returns:
            `Scaled(values, mean, scale)`; `values` in the dtype of `series`, the statistics in
            float32 or float64.

        Raises:
            ValueError: If `series` is not floating point, or not of that shape, or empty, or if
                `valid` is not boolean or of another shape.
            TypeError: If an input is not a tensor.
        """
        valid = _check_series("SeriesScaler", series, valid)
        full = series.to(torch.promote_types(series.dtype, torch.float32))
        mean, scale = _statistics(full, valid, (2,))
        return Scaled(((full - mean) / scale).to(series.dtype), mean, scale)

    def inverse(self, values: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Return scaled values in the original units.

        Args:
            values: `(batch, channels, length)`.
            mean: `(batch, channels, 1)`.
            scale: `(batch, channels, 1)`.

        Returns:
            The series, `(batch, channels, length)`, in the dtype of `values`.

        Raises:
            ValueError: If a shape is another one.
            TypeError: If an input is not a tensor.
        """
        check_floating("SeriesScaler", "values", values)
        check_axes("SeriesScaler", "values", values, "batch channels length")
        check_same_shape("SeriesScaler", "mean and values[..., :1]", mean, values[..., :1])
        check_same_shape("SeriesScaler", "scale and values[..., :1]", scale, values[..., :1])
        dtype = torch.promote_types(values.dtype, torch.float32)
        return (values.to(dtype) * scale.to(dtype) + mean.to(dtype)).to(values.dtype)


def _check_series(who: str, series: Tensor, valid: Tensor | None) -> Tensor | None:
    """Check a series and its `valid`, and give the latter the dimensions of the series."""
    check_floating(who, "series", series)
    check_axes(who, "series", series, "batch channels length")
    for name, size in zip(("batch", "channels", "length"), series.shape, strict=True):
        check_at_least(who, name, size, 1)
    if valid is None:
        return None
    batch, _, length = series.shape
    if isinstance(valid, Tensor) and valid.ndim == 2:
        check_bool_mask(who, "valid", valid, (batch, length))
        return valid.unsqueeze(1).expand_as(series)
    check_bool_mask(who, "valid", valid, series.shape)
    return valid


def _statistics(
    series: Tensor, valid: Tensor | None, axes: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the real values; the deviation is 1 where they are all alike."""
    if valid is None:
        valid = torch.ones((), dtype=torch.bool, device=series.device).expand_as(series)
    count = valid.sum(axes, keepdim=True).clamp(min=1)
    mean = torch.where(valid, series, 0.0).sum(axes, keepdim=True) / count
    high = torch.where(valid, series, -torch.inf).amax(axes, keepdim=True)
    low = torch.where(valid, series, torch.inf).amin(axes, keepdim=True)
    mean = torch.where(high == low, high, mean)  # no rounding where all values are one
    variance = torch.where(valid, series - mean, 0.0).square().sum(axes, keepdim=True) / count
    return mean, torch.where((high <= low) | (variance == 0), 1.0, variance).sqrt()
