"""The main job: data in; a trained model, new series, numbers and a page out."""

import pathlib
import resource
import shutil
import time
from collections.abc import Hashable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssltok._shared.storage import to_json
from ssltok.data import Dataset, label_index, read_series, train_and_test
from ssltok.distributed import is_first
from ssltok.evaluation._page import build_page
from ssltok.metrics import (
    FCNEncoder,
    codebook_perplexity,
    codebook_usage,
    encode,
    fit_fcn_classifier,
    frechet_distance,
    inception_score,
    knn_accuracy,
    linear_probe_accuracy,
    reconstruction_error,
    svm_probe_accuracy,
    train_on_synthetic_score,
)
from ssltok.pipelines._estimator import SSLTokenizer
from ssltok.pipelines._prior_loss import loss_by_share
from ssltok.pipelines._run_page import Numbers, run_figures, run_rows
from ssltok.pipelines._words._config import Config
from ssltok.training import keyed_generator

__all__ = ["run"]


def run(
    data: Dataset,
    config: Config,
    out: pathlib.Path,
    *,
    seed: int = 0,
    progress: bool = True,
    overwrite: bool = False,
    evaluator_steps: int = 500,
) -> Numbers:
    """Train on the training part, generate, evaluate on the test part, and write a folder.

    Args:
        data: From `load_dataset`; without a test part a fifth of it is kept for testing.
        config: What to train, and how long.
        out: The folder to write: `model`, `samples.npz`, `metrics.json`, `report.html`,
            `figures`. A run that was killed there is taken up again.
        seed: Decides everything random.
        progress: Show bars.
        overwrite: Replace a finished run.
        evaluator_steps: Training steps of the classifiers that judge the series.

    Returns:
        The numbers of `metrics.json`.

    Raises:
        FileExistsError: If `out` holds a finished run, or anything that is not a run.
        ValueError: If the data cannot be used.
    """
    began = time.perf_counter()
    _make_room(out, overwrite=overwrite)
    X, y, X_test, y_test = train_and_test(data, keyed_generator(seed, "test-part"))
    estimator = SSLTokenizer(config, seed=seed, checkpoints=out / "checkpoints", progress=progress)
    estimator.fit(X, y)
    if not is_first():
        return {}
    trained = time.perf_counter()
    labels: list[Hashable] = [None] * len(X_test) if y is None else _balanced(y, max(len(X), 200))
    trace: list[Tensor] = []
    generated = estimator.generate(
        labels, seed=seed, observe=lambda state, tokens: trace.append(tokens[0].clone())
    )
    numbers = measure(
        estimator, (X, y), (X_test, y_test), generated.series, labels, seed=seed,
        evaluator_steps=evaluator_steps,
    )  # fmt: skip
    codes = {"real": estimator.encode(X_test), "generated": generated.codes.numpy()}
    model = out / "model"
    if not model.exists():
        estimator.save(model)
    np.savez_compressed(
        out / "samples.npz",
        series=generated.series.numpy(),
        codes=codes["generated"],
        labels=np.array([str(label) for label in labels]),
    )
    figures = run_figures(
        estimator, X_test, y_test, generated.series.numpy(), labels, codes, trace, out
    )
    numbers["seconds"] = {
        "training": round(trained - began, 1),
        "whole": round(time.perf_counter() - began, 1),
    }
    numbers["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    numbers["dataset"], numbers["seed"] = data.name, seed
    numbers["provenance"] = estimator.provenance_
    (out / "metrics.json").write_bytes(to_json(numbers))
    intro = (
        f"ssltok on {data.name}: {len(X)} series trained on, {len(X_test)} kept for testing, "
        f"{len(labels)} generated; seed {seed}. Every number is measured on the test part, which "
        "nothing was fitted on."
    )
    page = build_page(f"{data.name}: tokens and new series", intro, run_rows(numbers), figures)
    (out / "report.html").write_text(page, encoding="utf-8")
    curves = out / "checkpoints" / "tensorboard"
    if curves.is_dir():
        shutil.rmtree(out / "tensorboard", ignore_errors=True)
        curves.rename(out / "tensorboard")
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return numbers


def measure(
    estimator: SSLTokenizer,
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    generated: Tensor,
    labels: list[Hashable],
    *,
    seed: int,
    evaluator_steps: int = 500,
) -> Numbers:
    """Every number of a run; those that need labels are left out without them."""
    real, held = read_series(train[0]), read_series(test[0], length=generated.shape[2])
    made = read_series(generated)
    rebuilt = torch.from_numpy(estimator.reconstruct(test[0])).nan_to_num(0.0)
    error = reconstruction_error(held.values.where(held.valid, 0.0), rebuilt.where(held.valid, 0.0))
    codes = torch.from_numpy(estimator.encode(train[0]))
    size = estimator.config_.tokenizer.codebook_size
    branches = torch.split(codes, list(estimator.artifact_.tokenizer.sizes), dim=1)
    share = held.valid.float().mean()  # errors are means over what is real
    numbers: Numbers = {
        "reconstruction": {"mse": float(error.mse / share), "mae": float(error.mae / share)},
        "codebook": {
            "usage": [float(codebook_usage(part, codebook_size=size)) for part in branches],
            "perplexity": [
                float(codebook_perplexity(part, codebook_size=size)) for part in branches
            ],
        },
    }
    y, classes = label_index(train[1], len(real.values))
    y_test, _ = label_index(test[1], len(held.values), classes=classes)
    unseen = torch.from_numpy(estimator.encode(test[0]))
    numbers["prior_loss"] = {
        name: {f"{share:g}": loss for share, loss in loss_by_share(
            estimator.artifact_.prior, tokens, known, seed=seed
        ).items()}
        for name, tokens, known in (("test", unseen, y_test), ("train", codes, y))
    }  # fmt: skip
    if train[1] is None:
        return numbers
    wanted, _ = label_index(labels, len(labels), classes=classes)
    before, after = (estimator.token_vectors(part) for part in (train[0], test[0]))
    views = {
        "tokens": (before.reshape(len(before), -1), after.reshape(len(after), -1)),
        "pooled": (estimator.transform(train[0]), estimator.transform(test[0])),
    }
    for name, pair in views.items():
        a, b = map(torch.from_numpy, pair)
        numbers[f"probe_{name}"] = {
            "linear": float(linear_probe_accuracy(a, y, b, y_test)),
            "svm": float(svm_probe_accuracy(a, y, b, y_test)),
            "knn": float(knn_accuracy(a, y, b, y_test)),
        }
    fcn = FCNEncoder.fit(
        real.values, y, steps=evaluator_steps, generator=keyed_generator(seed, "fcn")
    )
    seen = {name: encode(fcn, part.values) for name, part in
            (("train", real), ("test", held), ("generated", made))}  # fmt: skip
    # Both scores move with the number of series, so what is compared is equally many.
    equal = min(len(seen["train"]), len(seen["generated"]))
    numbers["frechet_distance"] = {
        name: float(frechet_distance(seen["test"], _some(seen[source], equal, seed)))
        for name, source in (("generated", "generated"), ("real", "train"))
    }
    logits = {name: fcn.logits(part.values) for name, part in (("generated", made), ("real", held))}
    equal = min(map(len, logits.values()))
    numbers["inception_score"] = {
        name: float(inception_score(_some(logit, equal, seed)).mean())
        for name, logit in logits.items()
    }
    numbers["train_on_real_test_on_generated"] = float(
        (logits["generated"].argmax(dim=1) == wanted).double().mean()
    )
    scores = train_on_synthetic_score(
        made.values, wanted, held.values, y_test, repeats=1, generator=keyed_generator(seed, "cas"),
        fit=partial(fit_fcn_classifier, steps=evaluator_steps),
    )  # fmt: skip
    numbers["train_on_generated_test_on_real"] = float(scores.mean())
    numbers["train_on_real_test_on_real"] = float(
        (logits["real"].argmax(dim=1) == y_test).double().mean()
    )
    return numbers


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


def _some(rows: Tensor, count: int, seed: int) -> Tensor:
    """So many rows, drawn without replacement."""
    order = torch.randperm(len(rows), generator=keyed_generator(seed, "equal numbers"))
    return rows[order[:count]]


def _balanced(y: Any, count: int) -> list[Hashable]:
    """`count` labels in the proportions of the training labels."""
    labels = list(y)
    return [labels[place * len(labels) // count] for place in range(count)]
