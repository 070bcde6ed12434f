"""The main job: data in; a trained model, new series, a report out."""

import dataclasses
import pathlib
import re
import resource
import shutil
import time
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssltok.data import (
    Dataset,
    elapsed_times,
    further_times,
    quantile_columns,
    read_series,
    read_times,
    train_and_test,
    write_dated,
)
from ssltok.distributed import is_first
from ssltok.evaluation import (
    Report,
    draw_curves,
    draw_reconstructions,
    draw_trace,
    evaluate,
    png,
    save_samples,
    standard_measures,
)
from ssltok.pipelines._estimator import SSLTokenizer
from ssltok.pipelines._tokenizer_measures import tokenizer_measures, tokens_of
from ssltok.pipelines._words._config import Config
from ssltok.training import keyed_generator

__all__ = ["run"]

LEAST_GENERATED = 200
FORECAST_SAMPLES = 20
WRITABLE = (str, int, float, bool, type(None))
Figures = dict[str, tuple[str, bytes]]


def run(
    data: Dataset,
    config: Config,
    out: pathlib.Path,
    *,
    seed: int = 0,
    progress: bool = True,
    overwrite: bool = False,
    evaluator_steps: int = 500,
    cpu: bool = False,
    window: int | None = None,
    stride: int | None = None,
) -> Report:
    """Train on the training part, generate, evaluate on the test part, and write a folder.

    The rows are those of `ssltok.evaluation.evaluate` with the measures of `tokenizer_measures`
    beside its own: `ssltok evaluate` gives the same for the folder's `samples.npz` and `model`.

    Args:
        data: From `load_dataset`; without a test part a fifth of it is kept for testing, see
            `ssltok.data.train_and_test`.
        config: What to train, and how long.
        out: The folder to write: `model`, `samples.npz`, `metrics.json`, `report.html`,
            `figures`, and `samples.csv` and `forecast.csv` where `window` is given. A run that was
            killed there is taken up again.
        seed: Decides everything random.
        progress: Show bars.
        overwrite: Replace a finished run.
        evaluator_steps: `steps` of `evaluate`: budget of each network that judges the series; 0
            leaves these out.
        cpu: Stay on the CPU even where there is an accelerator.
        window: Samples of a window, where the series are long and windows of them are learned.
        stride: Samples from one window to the next; None is a quarter of a window.

    Returns:
        The report; without rows on all processes but the first.

    Raises:
        FileExistsError: If `out` holds a finished run, or anything that is not a run.
        ValueError: If the data or an option cannot be used; before any training.
        TypeError: If a label cannot be written; before any training.
    """
    began = time.perf_counter()
    if evaluator_steps < 0:
        raise ValueError(f"run: evaluator_steps must be >= 0; got {evaluator_steps}")
    X, y, X_test, y_test, parted = train_and_test(
        data, keyed_generator(seed, "test-part"), window=window, stride=stride
    )
    if progress and parted and is_first():
        print(f"{data.name}: {parted}", flush=True)
    _check(X, y, X_test, y_test)
    _make_room(out, overwrite=overwrite)
    estimator = SSLTokenizer(
        config, seed=seed, checkpoints=out / "checkpoints", progress=progress, cpu=cpu
    )
    estimator.fit(X, y)
    if not is_first():
        return Report(rows=(), about={}, draw=dict)
    trained = time.perf_counter()
    count = max(len(X), LEAST_GENERATED)
    labels = [None] * len(X_test) if y is None else _balanced(y, count)
    trace: list[Tensor] = []
    generated = estimator.generate(
        labels, seed=seed, observe=lambda state, tokens: trace.append(tokens[0].clone())
    )
    if not (out / "model").exists():
        estimator.save(out / "model")
    save_samples(
        out / "samples.npz", generated.series, labels=None if y is None else labels,
        codes=generated.codes,
    )  # fmt: skip
    if window is not None:
        _write_dated(out, data, estimator, generated.series, seed=seed)
    series = generated.series
    report = evaluate(
        X, X_test, series, train_labels=y, test_labels=y_test,
        generated_labels=None if y is None else labels,
        tokens=tokens_of(estimator, train=X, test=X_test, generated=series),
        measures=(*standard_measures, tokenizer_measures(estimator)),
        steps=evaluator_steps, seed=seed, progress=progress,
    )  # fmt: skip
    figures = {**report.draw(), **_figures_of(estimator, X_test, trace)}
    _write_figures(out / "figures", figures)
    intro = (
        f"ssltok on {data.name}: {len(X)} series trained on, {len(X_test)} kept for testing, "
        f"{len(labels)} generated; seed {seed}."
    )
    intro += f" Parts: {parted}." if parted else ""
    report = dataclasses.replace(
        report,
        title=f"{data.name}: tokens and new series",
        intro=f"{intro} {report.intro}",
        draw=lambda: figures,
    )
    (out / "report.html").write_text(report.to_html(), encoding="utf-8")
    now = time.perf_counter()
    about = {
        **report.about,
        "dataset": data.name,
        "seconds": {"training": round(trained - began, 1), "whole": round(now - began, 1)},
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "provenance": estimator.provenance_,
    }
    report = dataclasses.replace(report, about=about)
    (out / "metrics.json").write_text(report.to_json() + "\n", encoding="utf-8")
    _tidy(out)  # last: until the numbers are there, the checkpoints say that a run can go on
    return report


def _write_dated(
    out: pathlib.Path, data: Dataset, estimator: SSLTokenizer, series: Tensor, *, seed: int
) -> None:
    """The samples, and a forecast of half a window, with times and names of channels."""
    window = series.shape[-1]
    horizon = window // 2
    draws = estimator.forecast(
        data.train, data.train_labels, horizon=horizon, samples=FORECAST_SAMPLES, seed=seed
    )
    columns = quantile_columns(draws, data.channels)
    elapsed = ahead = None
    if data.times is not None:
        timeline = read_times(data.times)
        end = int(np.flatnonzero(~np.isnan(np.atleast_2d(data.train[0])).all(axis=0))[-1]) + 1
        ahead = further_times(timeline._replace(times=timeline.times[:end]), horizon)
        elapsed = elapsed_times(timeline, window)
    write_dated(out / "samples.csv", series.numpy(), channels=data.channels, times=elapsed)
    write_dated(out / "forecast.csv", columns.series, channels=columns.names, times=ahead)


def _figures_of(estimator: SSLTokenizer, test: Any, trace: Sequence[Tensor]) -> Figures:
    """Draw what only a run has."""
    held = read_series(test, length=estimator.artifact_.tokenizer.length)
    real = held.values.where(held.valid, torch.nan).numpy()
    mask_index = estimator.artifact_.tokenizer.codebook_sizes[0][0]
    return {
        "Reconstructions": (
            "Test series, and what the decoder makes of their tokens.",
            png(draw_reconstructions(real, estimator.reconstruct(test))),
        ),
        "Training": (
            "Every term of the loss by step.",
            png(draw_curves(estimator.histories_)),
        ),
        "A decoding trace": (
            "The tokens of one new series: all hidden at first, each step keeps the surest.",
            png(draw_trace(trace, mask_index)),
        ),
    }


def _write_figures(folder: pathlib.Path, figures: Figures) -> None:
    folder.mkdir(exist_ok=True)
    for heading, (_, image) in figures.items():
        name = re.sub(r"\W+", "_", heading.lower())
        (folder / f"{name}.png").write_bytes(image)


def _tidy(out: pathlib.Path) -> None:
    """Keep the curves of the training, and drop what it would need to go on."""
    curves = out / "checkpoints" / "tensorboard"
    if curves.is_dir():
        shutil.rmtree(out / "tensorboard", ignore_errors=True)
        curves.rename(out / "tensorboard")
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


def _make_room(out: pathlib.Path, *, overwrite: bool) -> None:
    if not out.exists():
        return
    finished = (out / "metrics.json").is_file()
    if finished and overwrite:
        shutil.rmtree(out)
    elif finished or (any(out.iterdir()) and not (out / "checkpoints").is_dir()):
        what = "a finished run" if finished else "something that is no run"
        raise FileExistsError(
            f"run: out must be new, or hold an unfinished run; got {what} in {out}"
        )


def _check(train: Any, labels: Sequence[Hashable] | None, test: Any, test_labels: Any) -> None:
    """Ask before training what would fail after it: the evaluation, and writing the labels."""
    series = read_series(train, who="run: training part")
    _, channels, length = series.values.shape
    read_series(test, channels=channels, length=length, who="run: test part")
    evaluate(train, test, train, train_labels=labels, test_labels=test_labels, measures=())
    for label in labels if labels is not None else ():
        plain = label.item() if isinstance(label, np.generic | Tensor) else label
        if type(plain) not in WRITABLE:  # as the artefact asks: an IntEnum is no int when read back
            raise TypeError(
                f"run: labels must be texts, numbers, booleans or None to be written; got {label!r}"
            )


def _balanced(y: Any, count: int) -> list[Hashable]:
    """`count` labels in the proportions of the training labels."""
    labels = list(y)
    return [labels[place * len(labels) // count] for place in range(count)]
