"""Somebody's CSV, without training anything: tokens, groups, the nearest series, and how few bits.

    python examples/10_search_by_tokens.py

The file is written here, so that you can see its form: a series in a row, with a column `label`
that nothing below reads, but to say at the end how well the groups fit it.
"""

import argparse
import csv
import pathlib
import tempfile
from functools import partial

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

from ssltok.data import load_dataset, outline_series, pulse_series, switching_series
from ssltok.pipelines import SSLTokenizer

KINDS = {
    "beats": partial(pulse_series, cycles=(6.0, 9.0)),
    "machines": partial(switching_series, switches=(3.0, 6.0)),
    "outlines": outline_series,
}


def write_csv(path: pathlib.Path, cases: int) -> None:
    """Write series of three kinds, at any level and size, with a few cells left empty."""
    generator = torch.Generator().manual_seed(0)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["label", *(f"t{t}" for t in range(256))])
        for label, draw in KINDS.items():
            level, size = 1000 * torch.randn(2, cases, 1, generator=generator)
            series = level + size.abs() * draw(cases, 256, generator=generator)
            for row in series.tolist():
                cells = [f"{value:.4f}" for value in row]
                cells[100:104] = [""] * 4
                writer.writerow([label, *cells])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30, help="series of each kind, at least 3")
    cases = max(parser.parse_args().steps, 3)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "log.csv"
        write_csv(path, cases)
        data = load_dataset(str(path))

    tokenizer = SSLTokenizer.from_pretrained("general")
    codes = tokenizer.encode(data.train)
    print(f"{len(codes)} series of 256 samples: {codes.shape[1]} tokens of {codes.shape[2]} codes")
    series = np.stack(data.train)
    for levels in (3, 2, 1):
        tokenizer.set_params(levels=levels)
        bits = 10 * (tokenizer.encode(series) >= 0).sum(axis=(1, 2)).mean()
        wrong = np.nanmean((tokenizer.reconstruct(series)[:, 0] - series) ** 2, axis=1)
        share = np.median(1 - wrong / np.nanvar(series, axis=1))
        print(f"{levels} levels: {bits:.0f} bits explain {share:.1%} of a series, in the median")

    # Groups and neighbours of what the codes say: the series themselves are not read again.
    features = StandardScaler().fit_transform(tokenizer.set_params(levels=3).transform(data.train))
    groups = KMeans(len(KINDS), n_init=10, random_state=0).fit_predict(features)
    agreement = adjusted_rand_score([str(label) for label in data.train_labels], groups)
    print(f"groups agree with the labels to {agreement:.2f} (1 is all, 0 is chance)")

    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -1)
    nearest = likeness.argmax(axis=1)
    labels = np.array([str(label) for label in data.train_labels])
    print(f"the nearest series is of the same kind for {(labels == labels[nearest]).mean():.0%}")


if __name__ == "__main__":
    main()
