"""Maps of features onto a plane, for the report of an evaluation."""

import importlib.util
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ssltok._shared.drawing import GENERATED, REAL, value_range
from ssltok._shared.extras import need
from ssltok.plots import plot_embedding

__all__ = ["SETS", "draw_maps"]

POINTS = 500
SETS = ("real", "generated")
TAIL = 0.005  # of the real points, at each end
Array = NDArray[Any]


def draw_maps(real: Tensor, fake: Tensor, *, seed: int) -> Figure:
    """PCA, and from two features on t-SNE and, where it is installed, UMAP."""
    real, fake = real[:POINTS], fake[:POINTS]
    centre = real.mean(0)
    axes_of = torch.linalg.svd(real - centre, full_matrices=False).Vh[:2].mT
    first = torch.cat([(x - centre) @ axes_of for x in (real, fake)])
    maps = {"PCA": torch.nn.functional.pad(first, (0, 2 - first.shape[1])).numpy()}
    both = torch.cat([real, fake]).numpy()
    if len(both) > 10 and both.shape[1] >= 2:
        manifold = need("draw_maps", "sklearn.manifold")
        perplexity = min(30.0, (len(both) - 1) / 3)
        maps["t-SNE"] = manifold.TSNE(
            perplexity=perplexity, init="pca", random_state=seed % 2**32
        ).fit_transform(both)
    if both.shape[1] >= 2 and importlib.util.find_spec("umap") is not None:
        umap = need("draw_maps", "umap")
        maps["UMAP"] = umap.UMAP(random_state=seed % 2**32, n_jobs=1).fit_transform(both)
    names = [SETS[0]] * len(real) + [SETS[1]] * len(fake)
    figure = Figure(figsize=(4.0 * len(maps), 3.6), layout="constrained")
    grid = figure.subplots(1, len(maps), squeeze=False)[0]
    for axes, (name, points) in zip(grid, maps.items(), strict=True):
        plot_embedding(axes, points, names, classes=SETS, colors=(REAL, GENERATED))
        axes.set_title(name, fontsize=10)
        if axes is not grid[0]:
            axes.legend().remove()
    _frame(grid[0], maps["PCA"], len(real))
    return figure


def _frame(axes: Any, points: Array, real: int) -> None:
    """Draw PCA in the range of the real points, and say how many generated ones lie outside."""
    low, high = np.array([value_range(x[:real], share=TAIL) for x in points.T]).T
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    fake = points[real:]
    outside = int(((fake < low) | (fake > high)).any(axis=1).sum())
    axes.set_title(f"PCA ({outside} of {len(fake)} generated outside)", fontsize=10)
