"""Fit, draw new series by class, save, load, and draw the same ones again.

    python examples/03_generate.py --steps 200 --out generated.png

`SSLTokenizer` holds the whole line behind fit, encode, reconstruct, sample, save and load. GunPoint
ships inside sktime; the picture shows its real motions above and new ones below, by class.
"""

import argparse
import pathlib
import tempfile

import numpy as np
from matplotlib.figure import Figure

from ssltok.data import load_dataset
from ssltok.pipelines import SSLTokenizer, demo, shorten

EACH = 12


def draw(rows: dict[str, list[np.ndarray]], classes: list[str], path: pathlib.Path) -> None:
    """Write a picture: a row of panels for each kind of series, a column for each class."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots(len(rows), len(classes), sharex=True, sharey=True, squeeze=False)
    for line, (kind, groups) in zip(axes, rows.items(), strict=True):
        for place, label, group in zip(line, classes, groups, strict=True):
            place.plot(group[:EACH, 0].T, color="tab:blue", alpha=0.5, linewidth=0.8)
            place.set_title(f"{kind}, class {label}", fontsize=9)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps of each stage")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("generated.png"))
    options = parser.parse_args()
    data = load_dataset("GunPoint")
    model = SSLTokenizer(shorten(demo(), steps=options.steps), seed=0, progress=True)
    model.fit(data.train, data.train_labels)

    rebuilt = model.reconstruct(data.test)
    print(f"a series of {rebuilt.shape[-1]} samples is {model.tokens_} tokens")
    error = np.mean((rebuilt - data.test) ** 2)
    print(f"squared error on unseen series: {error:.3f}; always the mean: {data.test.var():.3f}")

    made = {label: model.sample(EACH, label=label, seed=1) for label in model.classes_}
    labels = np.array(data.train_labels)
    real = [data.train[labels == label] for label in model.classes_]
    for label, truth in zip(model.classes_, real, strict=True):
        new = made[label]
        print(
            f"class {label}: highest sample, real {truth.max(-1).mean():.2f} "
            f"and new {new.max(-1).mean():.2f} on average"
        )

    with tempfile.TemporaryDirectory() as folder:
        saved = model.save(pathlib.Path(folder) / "model")
        print("saved:", ", ".join(sorted(file.name for file in saved.iterdir())))
        again = SSLTokenizer.load(saved).sample(EACH, label=model.classes_[0], seed=1)
    print("loaded model draws the same series:", np.array_equal(again, made[model.classes_[0]]))

    draw({"real": real, "new": list(made.values())}, model.classes_, options.out)
    print(f"picture: {options.out}")


if __name__ == "__main__":
    main()
