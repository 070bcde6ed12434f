"""Judge the tokens: which segment is each in (mIoU), and are events found (average precision)?

    python examples/ssl/dense.py --method simmim

Long series, drawn by formula, change their regime: background, and events of three kinds. An
encoder learns without labels from windows of them; then one linear classifier reads the kind off
each frozen token, and runs of a kind are events.
"""

import argparse
import copy
import math

import torch
from contrast_in_time import ts2vec
from data import Data
from encoders import PatchEncoder
from loop import train
from masked_reconstruction import mae, simmim
from torch import Tensor, nn

from ssltok import metrics

LENGTH, EVENTS, KINDS = 256, 4, 3
METHODS = {"ts2vec": ts2vec, "mae": mae, "simmim": simmim}


def draw(cases: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw series `(cases, 1, 256)` with four events each, and the kind of each sample."""
    t = torch.arange(LENGTH).float()
    kinds = torch.zeros(cases, LENGTH, dtype=torch.int64)
    series = 0.3 * torch.randn(cases, LENGTH, generator=generator)
    swing = torch.rand(cases, 2, 1, generator=generator)
    series += (2 * math.pi * (1.5 * t / LENGTH + swing[:, 0])).sin() * swing[:, 1]
    room = LENGTH // EVENTS
    for event in range(EVENTS):
        size, place, gain = torch.rand(3, cases, 1, generator=generator)
        width = room * (0.3 + 0.4 * size)
        inside = (t - event * room - place * (room - width)) / width
        kind = torch.randint(1, KINDS + 1, (cases, 1), generator=generator)
        cycles = width * inside / torch.tensor([6.0, 10.0, 10.0])[kind - 1]
        saw = 2 * (cycles - cycles.floor()) - 1
        wave = torch.where(kind == 3, saw, (2 * math.pi * cycles).sin())
        here = (inside >= 0) & (inside < 1)
        series += torch.where(here, (0.8 + gain) * wave, 0.0)
        kinds = torch.where(here, kind, kinds)
    return series[:, None], kinds


def tokens_of(encoder: nn.Module, series: Tensor) -> Tensor:
    """Encode each token, `(cases, tokens, dim)`: a patch, or 8 samples of a vector for each."""
    if isinstance(encoder, PatchEncoder):
        return metrics.encode(lambda part: encoder.vit(part), series)
    steps = metrics.encode(encoder.steps, series)
    return steps[..., 4::8].transpose(1, 2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", choices=METHODS, default="ts2vec")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=100)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(asked.seed)
    generator = torch.Generator().manual_seed(asked.seed)
    (train_series, train_kinds), (series, kinds) = draw(100, generator), draw(50, generator)
    windows = train_series.unfold(2, 128, 128).transpose(1, 2).flatten(0, 1)
    whole = torch.zeros(len(windows), dtype=torch.int64)
    data = Data(windows, whole, windows, whole)  # no labels in training
    recipe = METHODS[asked.method](data)
    random = copy.deepcopy(recipe.encoder)
    train(recipe, data, asked.steps)
    print(f"{asked.method}, {asked.steps} steps: percent, 100 at best")
    print(f"{'':20}    mIoU   AP of events")
    for name, encoder in {"random": random, "trained": recipe.encoder}.items():
        encoder.eval()
        parts = (
            tokens_of(encoder, train_series), train_kinds[:, 4::8],
            tokens_of(encoder, series), kinds[:, 4::8],
        )  # fmt: skip
        overlap = float(metrics.dense_probe_iou(*parts))
        precision = float(metrics.event_probe_precision(*parts))
        print(f"{name:20}{100 * overlap:8.1f} {100 * precision:8.1f}")


if __name__ == "__main__":
    main()
