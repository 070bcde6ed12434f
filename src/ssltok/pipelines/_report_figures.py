"""The figures of an evaluation: so that somebody looks at the series before at the numbers."""

import contextlib
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ssltok.metrics import autocorrelation, nearest_neighbor_distance, power_spectrum
from ssltok.pipelines._evaluation_sets import Sets
from ssltok.pipelines._figures import draw_codebook, draw_overlay, png

__all__ = ["draw_evaluation"]

REAL, MADE = "#33415c", "#d1495b"
POINTS = 500
Array = NDArray[Any]


def draw_evaluation(sets: Sets) -> dict[str, tuple[str, bytes]]:
    """Draw what these sets allow: heading to (sentence, PNG bytes)."""
    by_class = {"test", "made"} <= set(sets.labels)
    figures: dict[str, tuple[str, Figure]] = {
        "Series by class" if by_class else "Series": (
            "Test series above, generated series below.",
            _overlay(sets),
        ),
        "Values": ("All values of a channel, pooled over series and time.", _values(sets)),
        "Autocorrelation": ("How long the series remember.", _autocorrelation(sets)),
    }
    if not sets.gaps:
        figures["Spectrum"] = ("Mean power of each frequency, in dB.", _spectrum(sets))
        figures["Nearest neighbours"] = (
            "Generated series with the nearest training series behind them: are they copies?",
            _neighbours(sets),
        )
        with contextlib.suppress(ValueError):  # no features: the table says why
            figures["Features"] = (
                f"Features ({sets.encoder_name}) of test and generated series. PCA is fitted on "
                "the test series; distances in the other maps have no unit.",
                _maps(sets),
            )
    if sets.tokens is not None:
        tokens = sets.tokens
        figures["Tokens"] = (
            "How often each code occurs.",
            draw_codebook(tokens.test.numpy(), tokens.generated.numpy(), tokens.codebook_size),
        )
    return {heading: (said, png(figure)) for heading, (said, figure) in figures.items()}


def _overlay(sets: Sets) -> Figure:
    known = {"test", "made"} <= set(sets.labels)
    real, made = (
        [sets.classes[k] for k in sets.labels[name].tolist()] if known else [None] * len(x)
        for name, x in (("test", sets.test), ("made", sets.made))
    )
    return draw_overlay(sets.test.numpy(), real, sets.made.numpy(), made)


def _values(sets: Sets) -> Figure:
    def draw(axes: Any, channel: int) -> None:
        pooled = [_known(x[:, channel]) for x in (sets.test, sets.made)]
        edges = np.histogram_bin_edges(np.concatenate(pooled), bins=60)
        for values, color, name in zip(pooled, (REAL, MADE), ("real", "generated"), strict=True):
            axes.hist(values, bins=edges, density=True, histtype="step", color=color, label=name)
        axes.set(xlabel="value", ylabel="density")

    return _by_channel(sets, draw)


def _autocorrelation(sets: Sets) -> Figure:
    curves = [autocorrelation(x).numpy() for x in (sets.test, sets.made)]
    return _by_channel(sets, _lines(curves, "lag"))


def _spectrum(sets: Sets) -> Figure:
    powers = [power_spectrum(x).numpy() for x in (sets.test, sets.made)]
    floor = 1e-8 * powers[0].max(axis=1, keepdims=True) + 1e-300
    curves = [10 * np.log10(np.maximum(power, floor)) for power in powers]
    return _by_channel(sets, _lines(curves, "frequency (cycles a series)"))


def _lines(curves: list[Array], label: str) -> Callable[[Any, int], None]:
    def draw(axes: Any, channel: int) -> None:
        for curve, color, name in zip(curves, (REAL, MADE), ("real", "generated"), strict=True):
            axes.plot(curve[channel], color=color, linewidth=1.2, label=name)
        axes.set(xlabel=label)

    return draw


def _by_channel(sets: Sets, draw: Callable[[Any, int], None]) -> Figure:
    channels = min(4, sets.test.shape[1])
    figure = Figure(figsize=(1.2 + 3.2 * channels, 2.6), layout="constrained")
    grid = figure.subplots(1, channels, squeeze=False)[0]
    for channel, axes in enumerate(grid):
        draw(axes, channel)
        if sets.test.shape[1] > 1:
            axes.set_title(f"channel {channel}", fontsize=10)
        _plain(axes)
    grid[0].legend(frameon=False, fontsize=8)
    return figure


def _neighbours(sets: Sets) -> Figure:
    made = sets.made[:6]
    near = sets.train[nearest_neighbor_distance(sets.train, made).neighbor]
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    grid = figure.subplots(2, 3, squeeze=False, sharex=True).ravel()
    for axes, mine, theirs in zip(grid, made, near, strict=False):
        axes.plot(theirs[0].numpy(), color=REAL, linewidth=2.4, alpha=0.5, label="training")
        axes.plot(mine[0].numpy(), color=MADE, linewidth=1.0, label="generated")
        _plain(axes)
    for axes in grid[len(made) :]:
        axes.set_visible(False)
    grid[0].legend(frameon=False, fontsize=8)
    return figure


def _maps(sets: Sets) -> Figure:
    real, made = (sets.some(sets.features[name], POINTS) for name in ("test", "made"))
    centre = real.mean(0)
    axes_of = torch.linalg.svd(real - centre, full_matrices=False).Vh[:2].mT
    maps = {"PCA": torch.cat([(x - centre) @ axes_of for x in (real, made)]).numpy()}
    both = torch.cat([real, made]).numpy()
    if len(both) > 10:
        manifold = importlib.import_module("sklearn.manifold")
        perplexity = min(30.0, (len(both) - 1) / 3)
        maps["t-SNE"] = manifold.TSNE(
            perplexity=perplexity, init="pca", random_state=sets.seed % 2**32
        ).fit_transform(both)
    if importlib.util.find_spec("umap") is not None:
        umap = importlib.import_module("umap")
        maps["UMAP"] = umap.UMAP(random_state=sets.seed % 2**32).fit_transform(both)
    figure = Figure(figsize=(4.0 * len(maps), 3.6), layout="constrained")
    grid = figure.subplots(1, len(maps), squeeze=False)[0]
    for axes, (name, points) in zip(grid, maps.items(), strict=True):
        rows = (points[: len(real)], REAL, "real"), (points[len(real) :], MADE, "generated")
        for xy, color, label in rows:
            axes.scatter(xy[:, 0], xy[:, 1], s=8, alpha=0.5, color=color, label=label, linewidths=0)
        axes.set_title(name, fontsize=10)
        _plain(axes)
    grid[0].legend(frameon=False, fontsize=8)
    return figure


def _known(x: Tensor) -> Array:
    known: Array = x[~x.isnan()].numpy()
    return known


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
