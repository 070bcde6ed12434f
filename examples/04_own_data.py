"""Your own data: a CSV with empty cells, unequal lengths and a label column, from file to series.

    python examples/04_own_data.py --steps 200

The file is written here, so that you can see its form: a series in a row, an empty cell for a
missing value, fewer cells for a shorter series, and a column `label`.
"""

import argparse
import csv
import pathlib
import tempfile

import numpy as np
import torch

from ssltok.data import load_dataset
from ssltok.pipelines import SSLTokenizer, demo, shorten

CASES, LENGTH, GAP = 60, 96, slice(40, 46)


def write_csv(path: pathlib.Path) -> np.ndarray:
    """Write slow and fast waves with gaps; return them without gaps."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(LENGTH)
    phases = 6.28 * torch.rand(CASES, generator=generator)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["label", *(f"t{t}" for t in range(LENGTH))])
        truth = []
        for case, phase in enumerate(phases):
            period = 48 if case % 2 else 24
            wave = 20 + 5 * torch.sin(6.28 * time / period + phase)
            truth.append(wave.numpy())
            cells = [f"{value:.3f}" for value in wave.tolist()]
            if case % 3 == 0:
                cells[GAP] = [""] * (GAP.stop - GAP.start)  # not measured
            if case % 5 == 0:
                cells[80:] = [""] * (LENGTH - 80)  # ended early
            writer.writerow(["slow" if case % 2 else "fast", *cells])
    return np.stack(truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps of each stage")
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "waves.csv"
        truth = write_csv(path)
        data = load_dataset(str(path))
    missing = np.isnan(np.stack(data.train))
    print(f"{len(data.train)} series, {missing.mean():.1%} of the cells empty, no test part")

    model = SSLTokenizer(shorten(demo(), steps=steps), seed=0, progress=True)
    model.fit(data.train, data.train_labels)
    print(f"classes {model.classes_}, {model.tokens_} tokens a series")

    # Inside a series a missing value is filled; beyond a series' end there is NaN.
    rebuilt = model.reconstruct(data.train)[:, 0]
    gap = missing.copy()
    gap[:, : GAP.start] = gap[:, GAP.stop :] = False
    error = np.sqrt(np.mean((rebuilt - truth)[gap] ** 2))
    print(f"typical error in the gaps: {error:.2f}; always the mean: {truth.std():.2f}")
    ends = (~np.isnan(rebuilt)).sum(axis=1)
    print(f"lengths that came back: {sorted(set(ends.tolist()))}, as in the file")

    for label in model.classes_:
        new = model.sample(4, label=label, seed=1, lengths=[LENGTH] * 4)[:, 0]
        power = np.abs(np.fft.rfft(new - new.mean(axis=1, keepdims=True), axis=1)) ** 2
        cycles = power.mean(axis=0).argmax()
        print(
            f"new {label} series: mean {new.mean():.1f}, strongest at {cycles} cycles of "
            f"{LENGTH} samples (real: {2 if label == 'slow' else 4})"
        )


if __name__ == "__main__":
    main()
