"""One fit with the installed wheel: the command and Python, from a table to samples and a report.

python -I .ci/fit.py        # where the wheel is installed with the extras `pipelines` and `data`
"""

import csv
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from ssltok.pipelines import SSLTokenizer, shorten


def main() -> None:
    """Fit, save, load and sample in Python; the command reads the same folder."""
    length, cases = 64, 24
    X = np.array([
        [math.sin(0.2 * (1 + i % 2) * t + i) for t in range(length)] for i in range(cases)
    ])  # fmt: skip
    y = ["slow", "fast"] * (cases // 2)
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        model = SSLTokenizer(shorten("compact", steps=3)).fit(X, y)
        codes = model.encode(X)
        model.save(folder / "model")
        again = SSLTokenizer.load(folder / "model")
        assert np.array_equal(again.encode(X), codes), "a loaded model gives the same codes"
        new = again.sample(4, label="slow", seed=0)
        assert np.asarray(new).shape == (4, 1, length), np.asarray(new).shape
        ssltok = pathlib.Path(sys.executable).with_name("ssltok")
        command(ssltok, "--version")
        command(ssltok, "sample", folder / "model", "--n", "3", "--out", folder / "new.npy")
        assert np.load(folder / "new.npy").shape == (3, 1, length)
        with (folder / "x.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*(f"t{i}" for i in range(length)), "label"])
            writer.writerows([*row, label] for row, label in zip(X.tolist(), y, strict=True))
        quick = ["--preset", "compact", "--steps", "3", "--evaluator-steps", "0", "--quiet"]
        table = ["--data", folder / "x.csv", "--layout", "series_in_rows"]
        command(ssltok, "run", *table, *quick, "--out", folder / "run")
        assert (folder / "run" / "report.html").is_file()
    print(f"{len(codes)} series by Python and by the command, from a table to a report")


def command(*words: object) -> None:
    """Run a command; a failure shows what it printed."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{words}: status {done.returncode}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
