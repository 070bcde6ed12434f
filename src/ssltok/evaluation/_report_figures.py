"""The figures of an evaluation: so that somebody looks at the series before at the numbers."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ssltok._shared.drawing import GENERATED, REAL, plain, value_range
from ssltok._shared.reasons import draw_or_tell
from ssltok.evaluation._figures import MOST_CLASSES, draw_codebook, draw_overlay, png
from ssltok.evaluation._report_maps import SETS, draw_maps
from ssltok.evaluation._sets import Sets
from ssltok.metrics import autocorrelation, nearest_neighbor_distance, power_spectrum

__all__ = ["draw_evaluation", "evaluation_figures"]

COLORS = (REAL, GENERATED)
TAIL = 0.005  # of the real values, at each end
Array = NDArray[Any]
Draw = Callable[[], tuple[str, Figure]]


def draw_evaluation(sets: Sets) -> dict[str, tuple[str, bytes]]:
    """Draw what these sets allow: heading to (sentence, PNG bytes), no bytes if it failed."""

    def drawn(draw: Draw) -> tuple[str, bytes]:
        sentence, figure = draw()
        return sentence, png(figure)

    return {k: draw_or_tell(partial(drawn, draw)) for k, draw in _pictures(sets).items()}


def evaluation_figures(sets: Sets) -> dict[str, tuple[str, Figure]]:
    """The same as figures."""
    return {heading: draw() for heading, draw in _pictures(sets).items()}


def _pictures(sets: Sets) -> dict[str, Draw]:
    """What these sets allow: heading to what draws it."""
    by_class = {"test", "generated"} <= set(sets.labels)
    figures: dict[str, Draw] = {
        "Series by class" if by_class else "Series": lambda: _overlay(sets),
        "Values": lambda: (
            "All values of a channel, pooled over series and time, in the range of the real ones; "
            "the legend says what share lies outside.",
            _values(sets),
        ),
        "Autocorrelation": lambda: ("How long the series remember.", _autocorrelation(sets)),
    }
    whole = sets.whole
    if not whole.gaps:
        figures["Spectrum"] = lambda: (
            "Mean power of each frequency, in dB.",
            _spectrum(whole),
        )
        figures["Nearest neighbours"] = lambda: (
            "Generated series with the nearest training series behind them: are they copies? "
            "Near in all channels, each in units of its training standard deviation"
            f"{'' if sets.test.shape[1] == 1 else '; channel 0 is drawn'}.",
            _neighbours(whole),
        )
        try:
            features = whole.features
        except Exception:  # the encoder has no answer: the table says why
            features = {}
        if features:
            figures["Features"] = lambda: (
                f"Features ({sets.encoder_name}) of test and generated series. PCA is fitted on "
                "the test series and drawn in their range; distances in the other maps have no "
                "unit.",
                draw_maps(features["test"], features["fake"], seed=sets.seed),
            )
    if sets.codes:
        figures["Tokens"] = lambda: ("How often each code occurs.", _codes(sets))
    return figures


def _codes(sets: Sets) -> Figure:
    codes = [sets.of(sets.codes, name).numpy() for name in ("test", "fake")]
    return draw_codebook(codes[0], codes[1], sets.codebook_size)


def _overlay(sets: Sets) -> tuple[str, Figure]:
    by_class = {"test", "generated"} <= set(sets.labels)
    sets = sets.labelled if by_class else sets
    real, fake = (
        [sets.classes[k] for k in sets.of(sets.labels, name).tolist()]
        if by_class
        else [None] * len(x)
        for name, x in (("test", sets.test), ("fake", sets.fake))
    )
    low, high = value_range(sets.test[:, 0].numpy())
    outside = ((sets.fake[:, 0] < low) | (sets.fake[:, 0] > high)).any(1).sum()
    sentences = ["Test series above, generated series below"]
    if by_class and len(sets.classes) > MOST_CLASSES:
        sentences.append(f"{MOST_CLASSES} of {len(sets.classes)} classes")
    if sets.test.shape[1] > 1:
        sentences.append("channel 0")
    sentences.append(f"{outside} of {len(sets.fake)} generated series leave the frame")
    classes = _in_order(sets.classes) if by_class else ()
    figure = draw_overlay(sets.test.numpy(), real, sets.fake.numpy(), fake, classes=classes)
    return "; ".join(sentences) + ".", figure


def _values(sets: Sets) -> Figure:
    def draw(axes: Any, channel: int) -> None:
        pooled = [_known(x[:, channel]) for x in (sets.test, sets.fake)]
        low, high = value_range(pooled[0], share=TAIL)
        edges = np.linspace(low, high, 61)
        middles, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
        for values, color, name in zip(pooled, COLORS, SETS, strict=True):
            share = np.histogram(values, bins=edges)[0] / max(1, len(values))
            label = f"{name}, {100 * (1 - share.sum()):.2g} % outside"
            axes.plot(
                middles, share / width, color=color, drawstyle="steps-mid", linewidth=1.2,
                label=label,
            )  # fmt: skip
        axes.set(xlabel="value", ylabel="density", xlim=(low, high))
        axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend
        axes.legend(frameon=False, fontsize=7, loc="upper right")

    return _by_channel(sets, draw)


def _autocorrelation(sets: Sets) -> Figure:
    curves = [autocorrelation(x).numpy() for x in (sets.test, sets.fake)]
    return _by_channel(sets, _lines(curves, "lag", "autocorrelation"))


def _spectrum(sets: Sets) -> Figure:
    powers = [power_spectrum(x).numpy() for x in (sets.test, sets.fake)]
    floor = 1e-8 * powers[0].max(axis=1, keepdims=True) + 1e-300
    curves = [10 * np.log10(np.maximum(power, floor)) for power in powers]
    return _by_channel(sets, _lines(curves, "frequency (cycles a series)", "power (dB)"))


def _lines(curves: list[Array], across: str, up: str) -> Callable[[Any, int], None]:
    def draw(axes: Any, channel: int) -> None:
        for curve, color, name in zip(curves, COLORS, SETS, strict=True):
            axes.plot(curve[channel], color=color, linewidth=1.2, label=name)
        axes.set(xlabel=across, ylabel=up)
        if channel == 0:
            axes.legend(frameon=False, fontsize=8)

    return draw


def _by_channel(sets: Sets, draw: Callable[[Any, int], None]) -> Figure:
    channels = min(4, sets.test.shape[1])
    figure = Figure(figsize=(1.2 + 3.2 * channels, 2.6), layout="constrained")
    for channel, axes in enumerate(figure.subplots(1, channels, squeeze=False)[0]):
        draw(axes, channel)
        if sets.test.shape[1] > 1:
            axes.set_title(f"channel {channel}", fontsize=10)
        plain(axes)
    return figure


def _neighbours(sets: Sets) -> Figure:
    near = nearest_neighbor_distance(sets.scaled("train"), sets.scaled("fake")[:6]).neighbor
    fake, near = sets.fake[:6], sets.train[near]
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    grid = figure.subplots(2, 3, squeeze=False, sharex=True)
    for axes, mine, theirs in zip(grid.ravel(), fake, near, strict=False):
        axes.plot(theirs[0].numpy(), color=REAL, linewidth=2.4, alpha=0.5, label="training")
        axes.plot(mine[0].numpy(), color=GENERATED, linewidth=1.0, label="generated")
        plain(axes)
    for axes in grid.ravel()[len(fake) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("time")
    for axes in grid[:, 0]:
        axes.set_ylabel("channel 0" if sets.test.shape[1] > 1 else "value")
    grid[0, 0].legend(frameon=False, fontsize=8)
    return figure


def _in_order(classes: Sequence[str]) -> list[str]:
    """Sorted numbers stay as they are; in names, numbers count as such: class 2 before class 10."""
    if all(re.fullmatch(r"-?\d+(\.\d+)?", name) for name in classes):
        return list(classes)
    parts = {name: re.split(r"(\d+)", name) for name in classes}
    return sorted(classes, key=lambda x: [int(p) if p.isdecimal() else p for p in parts[x]])


def _known(x: Tensor) -> Array:
    known: Array = x[~x.isnan()].numpy()
    return known
