"""What is known of each series beside its label: covariates, and channels known at every time."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["ConditionScale", "Conditions", "read_conditions"]


class Conditions(NamedTuple):
    """What a prior is told of series beside their labels, a row for each series.

    `fit` and the methods that draw take it, or a bare array: one of two axes is covariates, one of
    three known channels. The parts of the pipeline take it as tensors at the model's scale.

    Attributes:
        covariates: `(cases, features)`: numbers of the whole series, such as an age or a pitch.
        channels: `(cases, channels, length)`: what is known at every time, such as a calendar or
            a plan; for forecasts beyond the end of the series.
        known: Boolean `(cases,)`, False where the rest is hidden from the prior; None is all True.
            Guidance uses it, and so does training: leave it alone.
    """

    covariates: Any = None
    channels: Any = None
    known: Any = None

    def take(self, cases: Tensor | slice) -> "Conditions":
        """The series at these indices."""
        return Conditions(*(None if part is None else part[cases] for part in self))

    def to(self, device: torch.device) -> "Conditions":
        """The same on a device."""
        return Conditions(*(None if part is None else part.to(device) for part in self))

    def cut(self, starts: Tensor, size: int) -> "Conditions":
        """`size` samples of each series' channels from its start on; 0 past their end."""
        if self.channels is None:
            return self
        times = starts[:, None] + torch.arange(size)
        last = self.channels.shape[-1] - 1
        index = times.clamp(max=last)[:, None].expand(-1, self.channels.shape[1], -1)
        cut = self.channels.gather(2, index).masked_fill((times > last)[:, None], 0)
        return self._replace(channels=cut)

    def hidden(self) -> "Conditions":
        """The same series with nothing known of any."""
        some = self.covariates if self.channels is None else self.channels
        return self._replace(known=torch.zeros(len(some), dtype=torch.bool, device=some.device))

    def digest(self) -> str:
        """A hash of all numbers."""
        total = hashlib.sha256()
        for part in self[:2]:
            total.update(b"none" if part is None else str(tuple(part.shape)).encode())
            total.update(b"" if part is None else part.contiguous().numpy().tobytes())
        return total.hexdigest()

    @property
    def sizes(self) -> tuple[int, int]:
        """Covariates and known channels of a series."""
        a, b = (0 if part is None else int(part.shape[1]) for part in self[:2])
        return a, b


class ConditionScale(NamedTuple):
    """Mean and standard deviation of each covariate and known channel in training, float64.

    Attributes:
        covariates: `(2, features)`, means above deviations; 1 where a covariate is constant.
        channels: `(2, channels)`, likewise.
    """

    covariates: Tensor
    channels: Tensor

    @classmethod
    def of(cls, conditions: Conditions, lengths: Tensor) -> "ConditionScale":
        """Measure them in training; channels up to each series' end."""
        covariates, channels = conditions[:2]
        both = [torch.zeros(2, 0, dtype=torch.float64)] * 2
        if covariates is not None:
            both[0] = _moments(covariates)
        if channels is not None:
            within = torch.arange(channels.shape[2]) < lengths[:, None]
            both[1] = _moments(channels.mT[within])
        return cls(*both)

    @property
    def sizes(self) -> tuple[int, int]:
        """Covariates and known channels of a series."""
        return self.covariates.shape[1], self.channels.shape[1]

    def apply(self, conditions: Conditions, lengths: Tensor) -> Conditions:
        """Bring conditions to mean 0 and variance 1 in training, float32; 0 past a series' end."""
        covariates, channels = conditions[:2]
        if covariates is not None:
            mean, std = self.covariates
            covariates = ((covariates - mean) / std).float()
        if channels is not None:
            mean, std = self.channels[..., None]
            beyond = torch.arange(channels.shape[2]) >= lengths[:, None]
            channels = ((channels - mean) / std).float().masked_fill(beyond[:, None], 0)
        return Conditions(covariates, channels)


def _moments(values: Tensor) -> Tensor:
    """Mean and deviation of the columns of `(rows, columns)`; a constant one has deviation 1."""
    mean = values.mean(dim=0)
    std = (values - mean).square().mean(dim=0).sqrt()
    constant = std <= 1e-12 * values.abs().amax(dim=0)
    return torch.stack([mean, std.masked_fill(constant, 1)])


def read_conditions(
    who: str, given: Any, *, lengths: Tensor, layout: str | None, of: str = "length"
) -> Conditions:
    """Read conditions as float64 tensors and ask of them what training and drawing need.

    Args:
        who: Who asks, for the error's text.
        given: `Conditions`, or an array of two axes (covariates) or three (known channels).
        lengths: Samples of each series that the channels must cover, int64 `(cases,)`.
        layout: `"channels_last"` where channels are `(cases, length, channels)`.
        of: What the channels must be as long as, for the error's text.

    Returns:
        The conditions; what channels hold past a series' end is 0.

    Raises:
        ValueError: If axes, counts or values do not fit.
        TypeError: If they are no numbers.
    """
    cases = len(lengths)
    if not isinstance(given, Conditions):
        array = _numbers(who, "conditions", given)
        if array.ndim not in (2, 3):
            raise ValueError(
                f"{who}: conditions must be (cases, features) or (cases, channels, length), or "
                f"Conditions of both; got shape {tuple(array.shape)}"
            )
        given = Conditions(array) if array.ndim == 2 else Conditions(None, array)
    if given.known is not None:
        raise ValueError(f"{who}: known must be None in conditions that are given; got some")
    covariates, channels = given[:2]
    if covariates is None and channels is None:
        raise ValueError(f"{who}: conditions must hold covariates or channels; got neither")
    if covariates is not None:
        covariates = _numbers(who, "covariates", covariates)
        _check_shape(who, "covariates", covariates, "(cases, features)", 2, cases)
        _check_finite(who, "covariates", covariates, None)
    if channels is not None:
        channels = _numbers(who, "known channels", channels)
        _check_shape(who, "known channels", channels, "(cases, channels, length)", 3, cases)
        channels = channels.mT if layout == "channels_last" else channels
        longest = int(lengths.max())
        if channels.shape[2] < longest:
            raise ValueError(
                f"{who}: known channels must be at least {longest} samples long ({of}); "
                f"got {channels.shape[2]}"
            )
        within = (torch.arange(channels.shape[2]) < lengths[:, None])[:, None]
        _check_finite(who, "known channels", channels, within)
        channels = channels.masked_fill(~within, 0).contiguous()
    return Conditions(covariates, channels)


def _numbers(who: str, name: str, given: Any) -> Tensor:
    if isinstance(given, Tensor):
        return given.detach().cpu().double()
    try:
        return torch.from_numpy(np.array(given, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{who}: {name} must be an array of numbers; got {error}") from error


def _check_shape(who: str, name: str, given: Tensor, shape: str, axes: int, cases: int) -> None:
    if given.ndim != axes or len(given) != cases or not given.shape[1:].numel():
        raise ValueError(
            f"{who}: {name} must be {shape} of {cases} series; got shape {tuple(given.shape)}"
        )


def _check_finite(who: str, name: str, given: Tensor, within: Tensor | None) -> None:
    wrong = ~given.isfinite() if within is None else ~given.isfinite() & within
    if bool(wrong.any()):
        place = tuple(torch.nonzero(wrong)[0].tolist())
        raise ValueError(
            f"{who}: {name} must be finite; got {float(given[place])} at {place} and "
            f"{int(wrong.sum())} in all"
        )
