"""Draw the two pictures of the guide "From masks to series", from example 05's own functions.

    python docs/figures/decoding_trace.py   # writes docs/pages/assets/*.png

Takes about a minute on a CPU; needs matplotlib and sktime.
"""

import importlib.util
import pathlib
from types import ModuleType

import matplotlib as mpl
import torch

mpl.use("Agg")

import matplotlib.pyplot as plt

from ssltok.decoding import (
    DecodingTrace,
    confidence_order,
    iterative_decode,
    receptive_field,
    temperature_sample,
    token_mask,
)
from ssltok.masking import cosine_schedule

ROOT = pathlib.Path(__file__).parents[2]
ASSETS = ROOT / "docs" / "pages" / "assets"


def example() -> ModuleType:
    """Import example 05, whose file name is no module's name."""
    path = ROOT / "examples" / "05_impute_and_forecast.py"
    spec = importlib.util.spec_from_file_location("example_05", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def draw_trace(module: ModuleType, tokenizer: object, prior: object) -> None:
    """One row of pixels per step: which tokens are fixed, and how sure the model was of them."""
    freq, frames = tokenizer.encoder.grid
    trace = DecodingTrace()
    tokens = iterative_decode(
        prior,
        torch.full((1, freq * frames), module.CODES),
        mask_index=module.CODES,
        steps=8,
        schedule=cosine_schedule,
        order=confidence_order(),
        sample=temperature_sample(),
        observe=trace,
        generator=torch.Generator().manual_seed(3),
    )
    grids = trace.tokens[:, 0].view(-1, freq, frames).float()
    grids[grids == module.CODES] = torch.nan
    figure, axes = plt.subplots(3, 3, figsize=(8, 4.4), constrained_layout=True)
    cells = axes.flatten()
    for step, (axis, grid) in enumerate(zip(cells, grids, strict=False)):
        axis.imshow(grid, aspect="auto", cmap="viridis", vmin=0, vmax=module.CODES - 1)
        left = int(grid.isnan().sum())
        axis.set_title(f"step {step + 1}: {left} of {freq * frames} masked", fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_facecolor("0.92")
    cells[0].set_ylabel("frequency", fontsize=8)
    cells[6].set_xlabel("frame", fontsize=8)
    cells[-1].plot(tokenizer.decode(tokens)[0, 0], color="C0", linewidth=1.2)
    cells[-1].set_title("the series they decode to", fontsize=8)
    cells[-1].tick_params(labelsize=7)
    figure.savefig(ASSETS / "decoding_trace.png", dpi=110)


def draw_imputation(
    module: ModuleType, tokenizer: object, prior: object, series: torch.Tensor
) -> None:
    """Two series with a gap each: what was known, what was hidden, and twenty draws."""
    time = torch.arange(series.shape[-1])
    hidden = (time >= 40) & (time < 70)
    found = module.fill(tokenizer, prior, series, hidden)
    field = receptive_field(tokenizer.latents, channels=1, length=len(time))
    share = float(token_mask(hidden[None], field).double().mean())
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), sharey=True, constrained_layout=True)
    for axis, row, draws in zip(axes, series[:, 0], found[:, :, 0].unbind(1), strict=True):
        axis.axvspan(40, 69, color="0.92")
        axis.plot(time[39:71], draws[:, 39:71].T, color="C1", linewidth=0.6, alpha=0.5)
        axis.plot(time, row, color="C0", linewidth=1.2)
        axis.plot(time[40:70], row[40:70], color="white", linewidth=1.6)
        axis.plot(time[40:70], row[40:70], color="C0", linewidth=1.0, linestyle=":")
        axis.tick_params(labelsize=7)
        axis.set_xlabel("sample", fontsize=8)
    axes[0].set_title(f"hidden: 30 of 150 samples, {share:.0%} of the tokens", fontsize=8)
    axes[1].set_title("dotted: the truth; orange: 20 draws", fontsize=8)
    figure.savefig(ASSETS / "imputation.png", dpi=110)


def main() -> None:
    from sktime.datasets import load_gunpoint

    ASSETS.mkdir(exist_ok=True)
    module = example()
    torch.manual_seed(0)
    series = torch.tensor(load_gunpoint(return_type="numpy3d")[0], dtype=torch.float32)
    known, unseen = series[torch.randperm(len(series))].split([160, 40])
    tokenizer, prior = module.learn(known, 300)
    with torch.no_grad():
        draw_trace(module, tokenizer, prior)
        draw_imputation(module, tokenizer, prior, unseen[[0, 5]])


if __name__ == "__main__":
    main()
