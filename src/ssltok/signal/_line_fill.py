"""Gaps filled by straight lines, the least that a fill can know."""

import torch
from torch import Generator, Tensor, nn

from ssltok._shared.checks import check_axes, check_bool_mask, check_floating, check_same_shape

__all__ = ["LineFill", "line_fill"]


def line_fill(series: Tensor, observed: Tensor) -> Tensor:
    """Lead a straight line over each gap, channel by channel; the nearest value beyond the ends.

    Args:
        series: `(batch, channels, length)`; what is not observed may be anything, NaN among it.
        observed: Boolean, of that shape, True where a value is known.

    Returns:
        The filled series, observed values to the bit; 0 throughout a channel without any.

    Raises:
        ValueError: If the shapes differ, or the dtypes do not fit.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.signal import line_fill
        >>> series = torch.tensor([[[9.0, 2.0, 9.0, 9.0, 8.0, 9.0]]])
        >>> line_fill(series, torch.tensor([[[False, True, False, False, True, False]]]))
        tensor([[[2., 2., 4., 6., 8., 8.]]])
    """
    check_floating("line_fill", "series", series)
    check_axes("line_fill", "series", series, "batch channels length")
    check_bool_mask("line_fill", "observed", observed, series.shape)
    length = series.shape[2]
    known = torch.where(observed, series, 0.0)
    times = torch.arange(length, device=series.device).expand(series.shape)
    before = torch.where(observed, times, -1).cummax(dim=2).values
    after = torch.where(observed, times, length).flip(2).cummin(dim=2).values.flip(2)
    left = torch.where(before >= 0, before, after).clamp(max=length - 1)
    right = torch.where(after < length, after, before).clamp(min=0)
    start, end = known.gather(2, left), known.gather(2, right)
    share = (times - left).to(series.dtype) / (right - left).clamp(min=1)
    return torch.where(observed, series, start + (end - start) * share)


class LineFill(nn.Module):
    """`line_fill` as a part; it draws nothing, so a draw is refused.

    Example:
        >>> import torch
        >>> from ssltok.signal import LineFill
        >>> LineFill()(torch.tensor([[[1.0, 0.0, 3.0]]]), torch.tensor([[[True, False, True]]]))
        tensor([[[1., 2., 3.]]])
    """

    def forward(
        self,
        series: Tensor,
        observed: Tensor,
        *,
        guess: Tensor | None = None,
        drawn: bool = False,
        generator: Generator | None = None,
    ) -> Tensor:
        """Fill the gaps of `(batch, channels, length)`, or of what a `guess` leaves of them.

        Raises:
            ValueError: If `drawn` is asked for, or see `line_fill`.
            TypeError: If an input is not a tensor.
        """
        if drawn:
            raise ValueError("LineFill: drawn must be False, for lines have no spread; got True")
        if guess is None:
            return line_fill(series, observed)
        check_same_shape("LineFill", "series and guess", series, guess)
        return torch.where(observed, series, line_fill(series - guess, observed) + guess)
