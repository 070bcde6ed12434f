"""RevIN: take level and size out of each series before a model, and put them back behind it."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_positive,
    check_same_shape,
    check_size,
)
from ssltok.signal._scale import Scaled

__all__ = ["RevIN"]


class RevIN(nn.Module):
    r"""Normalise each channel of each series, with a learned map behind that is undone first.

    $$y_{b,c,t} = \gamma_c \frac{x_{b,c,t} - \mu_{b,c}}{\sqrt{\sigma^2_{b,c} + \epsilon}} + \beta_c,
      \qquad \hat x = \frac{y - \beta}{\gamma} \sqrt{\sigma^2 + \epsilon} + \mu$$

    with mean and population variance of the real values. `inverse` takes any number of values, a
    forecast among them. Nothing is kept between the calls: the statistics are returned and given
    back. Gradients do not pass through them, as in the authors' code. `SeriesScaler` is the same
    without anything learned.

    Departures: the authors add $\epsilon^2$ to $\gamma$ when they divide by it; here the inverse is
    exact, and a $\gamma$ of 0 has none.

    Args:
        channels: Channels of the series.
        affine: Whether $\gamma$ and $\beta$ are learned; they start at 1 and 0.
        eps: $\epsilon$, above 0; 1e-5 in the authors' code.

    Raises:
        ValueError: If an option is out of range, or an input does not fit.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.signal import RevIN
        >>> revin = RevIN(1)
        >>> values, mean, scale = revin(torch.tensor([[[1.0, 3.0]], [[20.0, 60.0]]]))
        >>> values[:, 0].detach().round(decimals=3)
        tensor([[-1.,  1.],
                [-1.,  1.]])
        >>> revin.inverse(torch.zeros(2, 1, 3), mean, scale)[:, 0].detach()  # a forecast
        tensor([[ 2.,  2.,  2.],
                [40., 40., 40.]])

    References:
        Kim et al., *Reversible instance normalization for accurate time-series forecasting
        against distribution shift*, 2022, <https://openreview.net/forum?id=cGDAkQo1C0p>,
        equations 1 to 3, and its code.
    """

    def __init__(self, channels: int, *, affine: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        check_at_least("RevIN", "channels", channels, 1)
        check_positive("RevIN", "eps", eps)
        self.channels, self.affine, self.eps = channels, affine, eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, series: Tensor, valid: Tensor | None = None) -> Scaled:
        """Return the normalised series with the statistics that undo it.

        Args:
            series: `(batch, channels, length)`.
            valid: True where a value is real, `(batch, length)` or `(batch, channels, length)`;
                the others take no part in the statistics, and mean nothing in the result. By
                default all are real.

        Returns:
            `Scaled(values, mean, scale)`; `values` in the dtype of `series`, the statistics
            in float32 or float64.
        """
        self._check("series", series)
        full = series.to(torch.promote_types(series.dtype, torch.float32))
        real = torch.ones_like(full, dtype=torch.bool)
        if valid is not None:
            by_row = valid.ndim == 2
            shape = (series.shape[0], series.shape[2]) if by_row else tuple(series.shape)
            check_bool_mask("RevIN", "valid", valid, shape)
            real = (valid.unsqueeze(1) if by_row else valid).expand_as(full)
        with torch.no_grad():
            count = real.sum(-1, keepdim=True).clamp(min=1)
            mean = torch.where(real, full, 0.0).sum(-1, keepdim=True) / count
            variance = torch.where(real, full - mean, 0.0).square().sum(-1, keepdim=True) / count
            scale = (variance + self.eps).sqrt()
        values = (full - mean) / scale
        if self.weight is not None and self.bias is not None:
            values = values * self.weight[:, None] + self.bias[:, None]
        return Scaled(values.to(series.dtype), mean, scale)

    def inverse(self, values: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Return values, `(batch, channels, length)`, in the units of the series.

        Args:
            values: What a model made, of any length.
            mean: `(batch, channels, 1)`, from `forward`.
            scale: `(batch, channels, 1)`, from `forward`.

        Raises:
            ValueError: If the shapes do not fit.
        """
        self._check("values", values)
        check_same_shape("RevIN", "mean and values[..., :1]", mean, values[..., :1])
        check_same_shape("RevIN", "scale and values[..., :1]", scale, values[..., :1])
        full = values.to(torch.promote_types(values.dtype, torch.float32))
        if self.weight is not None and self.bias is not None:
            full = (full - self.bias[:, None]) / self.weight[:, None]
        return (full * scale + mean).to(values.dtype)

    def _check(self, name: str, series: Tensor) -> None:
        check_floating("RevIN", name, series)
        check_axes("RevIN", name, series, "batch channels length")
        check_size("RevIN", name, series, 1, self.channels)
        check_at_least("RevIN", "batch", series.shape[0], 1)
        check_at_least("RevIN", "length", series.shape[2], 1)
