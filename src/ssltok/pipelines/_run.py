"""The main job: data in; a trained model, new series, a report out."""

import os
import pathlib
import resource
import sys
import time
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from torch import Tensor

from ssltok._shared.outputs import uninterrupted
from ssltok.data import (
    Dataset,
    SeriesSet,
    SourceSet,
    TrainAndTest,
    elapsed_times,
    forecast_times,
    is_source,
    label_index,
    read_series,
    read_source,
    read_times,
    train_and_test,
    write_draws,
)
from ssltok.evaluation import (
    Report,
    RidgeJudge,
    evaluate,
    save_samples,
    standard_measures,
)
from ssltok.pipelines._auto._plan import Plan, plan_for, write_plan
from ssltok.pipelines._auto._rest import with_rest, work_of
from ssltok.pipelines._auto._verdict import in_words, majority_share, verdict
from ssltok.pipelines._estimator import SSLTokenizer
from ssltok.pipelines._fit import fingerprint
from ssltok.pipelines._folders._artifact_checks import check_savable
from ssltok.pipelines._folders._place import Place, check_place, claimed
from ssltok.pipelines._large._measured import last_samples, measured_parts
from ssltok.pipelines._stages import teller
from ssltok.pipelines._uses._run_figures import figures_of, write_figures
from ssltok.pipelines._uses._tokenizer_measures import tokenizer_measures, tokens_of
from ssltok.pipelines._words._config import AutoConfig, Config
from ssltok.training import accelerated, keyed_generator

__all__ = ["run"]

LEAST_GENERATED = 200
FORECAST_SAMPLES = 20
STEPS = 500


def run(
    data: Dataset,
    config: Config | AutoConfig,
    out: pathlib.Path,
    *,
    seed: int = 0,
    progress: bool = True,
    overwrite: bool = False,
    evaluator_steps: int | None = None,
    cpu: bool = False,
    window: int | None = None,
    stride: int | None = None,
) -> Report:
    """Train on the training part, generate, evaluate on the test part, and write a folder.

    The rows are those of `ssltok.evaluation.evaluate` with the measures of `tokenizer_measures`
    beside its own: `ssltok evaluate` gives the same for the folder's `samples.npz` and `model`.

    Args:
        data: From `load_dataset` or `load_source`; without a test part a fifth of it is kept for
            testing, see `ssltok.data.train_and_test`. Where its series stay in a file, the rows of
            the report are of a random sample of 2,000 series of each part at most, and say so.
        config: What to train, and how long; an `AutoConfig` lets `auto` read the training series.
        out: The folder to write: `model`, `samples.npz`, `metrics.json`, `report.html`,
            `figures`, `tensorboard`, `plan.json` of `auto`, and `samples.csv` and `forecast.csv`
            where `window` is given. Until all are there it holds `unfinished` alone, and a run that
            was killed is taken up again from it.
        seed: Decides everything random.
        progress: Show bars.
        overwrite: Replace a finished run at the end, or drop another run's unfinished work;
            what no run wrote stays.
        evaluator_steps: `steps` of `evaluate`: budget of each network that judges the series; 0
            leaves these out, None takes 500 for a `Config` and 0 for `auto`, whose time they
            would exceed.
        cpu: Stay on the CPU even where there is an accelerator.
        window: Samples of a window, where the series are long and windows of them are learned.
        stride: Samples from one window to the next; None is a quarter of a window.

    Returns:
        The report; without rows on all processes but the first.

    Raises:
        FileExistsError: If `out` holds a finished run, or anything that is not a run.
        OSError: If `out` cannot be written; before any training.
        ValueError: If the data or an option cannot be used; before any training.
        TypeError: If a label cannot be written; before any training.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from ssltok.data import Dataset
        >>> from ssltok.pipelines import Config, PriorConfig, TokenizerConfig, run, shorten
        >>> config = Config(
        ...     tokenizer=TokenizerConfig(dim=4, blocks=0, codebook_size=3, projector_dim=8),
        ...     prior=PriorConfig(dim=8, depth=1),
        ... )
        >>> data = Dataset("noise", np.random.rand(12, 1, 32), None, np.random.rand(8, 1, 32), None)
        >>> out = pathlib.Path(tempfile.mkdtemp()) / "out"
        >>> report = run(data, shorten(config, steps=1), out, progress=False, evaluator_steps=0)
        >>> (out / "report.html").exists(), len(report.rows) > 10
        (True, True)
    """
    began = time.perf_counter()
    if evaluator_steps is None:
        evaluator_steps = 0 if isinstance(config, AutoConfig) else STEPS
    if evaluator_steps < 0:
        raise ValueError(f"run: evaluator_steps must be >= 0; got {evaluator_steps}")
    check_place(out, overwrite=overwrite)
    parts = train_and_test(data, keyed_generator(seed, "test-part"), window=window, stride=stride)
    first = os.environ.get("RANK", "0") == "0"
    if progress and parts.about and first:
        print(f"{data.name}: {parts.about}", flush=True)
    layout = data.layout if window is None else "channels_first"  # windows are cut so
    measured = measured_parts(parts, keyed_generator(seed, "measured"))
    series, length = _check(parts, measured[0], layout=layout)
    if isinstance(series, SourceSet):
        with accelerated("no", cpu=cpu):  # the processes share the pass
            series.measure(progress=progress, tell=teller(progress=progress, verbose=None))
        parts = parts._replace(train=series)
    labels, classes = label_index(parts.train_labels, series.cases)
    config, plan = plan_for(config, series, classes=len(classes), ordered=window is not None)
    if plan is not None:
        (X, _, X_test, _, _), _ = measured
        work = work_of(
            config, train=len(X), test=len(X_test), generated=max(len(X), LEAST_GENERATED),
            channels=series.shape[1], length=series.shape[2], classes=len(classes),
        )  # fmt: skip
        plan = with_rest(plan, work, networks=evaluator_steps > 0)
        if progress and first:
            print("\n".join(plan.reasons), file=sys.stderr, flush=True)
    estimator = SSLTokenizer(
        config, seed=seed, length=length, layout=layout, progress=progress, cpu=cpu
    )
    if not first:  # the group of processes is set up by `fit`
        estimator.set_params(checkpoints=Place(out).checkpoints).fit(
            parts.train, parts.train_labels
        )
        return Report(rows=(), about={}, draw=dict)
    with claimed(out, fingerprint(series, labels, config, seed), overwrite=overwrite) as place:
        estimator.checkpoints = place.checkpoints
        estimator.fit(parts.train, parts.train_labels)
        seconds = {"training": round(time.perf_counter() - began, 1)}
        place.start_results()
        options = {"seed": seed, "progress": progress, "steps": evaluator_steps}
        tables = None if window is None else data
        report = _results(data.name, estimator, measured, place.results, options, tables, plan)
        seconds["whole"] = round(time.perf_counter() - began, 1)
        about = {
            **report.about,
            "dataset": data.name,
            "seconds": seconds,
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "provenance": estimator.provenance_,
            "files": place.list_files(),
        }
        report = replace(report, about=about)
        (place.results / "metrics.json").write_text(report.to_json() + "\n", encoding="utf-8")
        with uninterrupted():
            place.publish()
    return report


def _results(
    name: str,
    estimator: SSLTokenizer,
    measured: tuple[TrainAndTest, str],
    folder: pathlib.Path,
    options: dict[str, Any],
    tables: Dataset | None,
    plan: Plan | None,
) -> Report:
    """Generate, evaluate, draw, and write all but the numbers."""
    (X, y, X_test, y_test, parted), sampled = measured
    seed = options["seed"]
    count = max(len(X), LEAST_GENERATED)
    known = [None if k < 0 else estimator.classes_[k] for k in estimator.artifact_.labels.tolist()]
    labels = [None] * count if y is None else _balanced(known, count)
    trace: list[Tensor] = []
    generated = estimator.generate(
        labels, seed=seed, observe=lambda state, tokens: trace.append(tokens[0].clone())
    )
    estimator.save(folder / "model")
    save_samples(
        folder / "samples.npz", generated.series, labels=None if y is None else labels,
        codes=generated.codes,
    )  # fmt: skip
    if tables is not None:
        _write_tables(tables, estimator, generated.series, folder, seed)
    series = generated.series
    report = evaluate(
        X, X_test, series, train_labels=y, test_labels=y_test,
        generated_labels=None if y is None else labels,
        tokens=tokens_of(estimator, train=X, test=X_test, generated=series),
        measures=(*standard_measures, RidgeJudge(), tokenizer_measures(estimator)), **options,
    )  # fmt: skip
    if sampled:
        rows = [
            replace(row, note="; ".join(filter(None, (row.note, sampled)))) for row in report.rows
        ]
        report = replace(report, rows=tuple(rows), about={**report.about, "sample": sampled})
    findings = verdict(report, majority=majority_share(y_test))
    if plan is not None:
        write_plan(plan, folder / "plan.json")
    figures = {**report.draw(), **figures_of(estimator, X_test, trace, plan)}
    write_figures(folder / "figures", figures)
    intro = (
        f"ssltok on {name}: {len(estimator.artifact_.lengths)} series trained on, {len(X_test)} "
        f"kept for testing, {len(labels)} generated; seed {seed}."
    )
    intro += f" Parts: {parted}." if parted else ""
    intro += f" Measured on {sampled}." if sampled else ""
    report = replace(
        report,
        title=f"{name}: tokens and new series",
        intro=f"{intro} {in_words(findings)} {report.intro}",
        about={**report.about, "verdict": [f.sentence for f in findings]},
        draw=lambda: figures,
    )
    (folder / "report.html").write_text(report.to_html(), encoding="utf-8")
    return report


def _write_tables(
    data: Dataset, estimator: SSLTokenizer, series: Tensor, folder: pathlib.Path, seed: int
) -> None:
    """The samples, and a forecast of half a window, with times and names of channels."""
    window, elapsed = series.shape[-1], None
    if data.times is not None:
        clock = data.times[0] if isinstance(data.times, list) else data.times
        elapsed = elapsed_times(read_times(clock), window)
    write_draws(
        folder / "samples.csv", series.numpy()[None], data=data._replace(ids=None), times=elapsed
    )
    horizon = max(1, window // 2)
    first = 0
    if is_source(data.train):
        data, first = last_samples(data, estimator.artifact_.tokenizer.length)
    draws = estimator.forecast(
        data.train, data.train_labels, horizon=horizon, samples=FORECAST_SAMPLES, seed=seed
    )
    times = forecast_times(data, horizon, who="run")
    if first:  # places, for a source has no times
        times = [places + first for places in times]
    write_draws(folder / "forecast.csv", draws, data=data, times=times)


def _check(
    parts: TrainAndTest, measured: TrainAndTest, *, layout: str | None
) -> tuple[SeriesSet | SourceSet, int | None]:
    """Ask before training what would fail after it: the evaluation, and writing the labels.

    Returns:
        The training series as the model will read them, and the length that it must hold where
        test series are longer: the length alone, no value of them.
    """
    who, length = "run: training part", None
    series: SeriesSet | SourceSet
    if is_source(parts.train):
        length = parts.train.length
        series = read_source(parts.train, length=length, who=who)
    else:
        series = read_series(parts.train, layout=layout, who=who)
        channels, longest = series.values.shape[1:]
        held = read_series(
            parts.test, channels=channels, offset=series.offset, who="run: test part"
        )
        if held.values.shape[2] > longest:
            length = held.values.shape[2]
            series = read_series(parts.train, length=length, layout=layout, who=who)
    _, classes = label_index(parts.train_labels, series.cases, who="run")
    check_savable("run", classes)
    train, labels, test, test_labels, _ = measured
    evaluate(train, test, train, train_labels=labels, test_labels=test_labels, measures=())
    return series, length


def _balanced(y: Any, count: int) -> list[Hashable]:
    """`count` labels in the proportions of the training labels."""
    labels = list(y)
    return [labels[place * len(labels) // count] for place in range(count)]
