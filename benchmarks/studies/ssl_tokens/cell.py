"""One cell: an arm trained on a data set with a seed, measured, and written as one JSON."""

import dataclasses
import datetime
import functools
import hashlib
import json
import os
import pathlib
import platform
import subprocess
import time
from typing import Any, NamedTuple

import numpy as np
import scipy
import torch
from benchmarks.side_by_side import machine
from benchmarks.studies.ssl_tokens.arms import Arm, build_arm
from benchmarks.studies.ssl_tokens.data import Split, make_split
from benchmarks.studies.ssl_tokens.judge import Judge, JudgeSettings
from benchmarks.studies.ssl_tokens.probes import probe_accuracies
from benchmarks.studies.ssl_tokens.sampling import draw_series, trace_decoding
from benchmarks.studies.ssl_tokens.train import Trained, scale, train_arm
from torch import Tensor

import ssltok
from ssltok.data import Dataset, SeriesSet
from ssltok.metrics import codebook_perplexity, codebook_usage
from ssltok.nn import mean_pool
from ssltok.pipelines import Tokenizer, config_to_dict, encode_series, loss_by_share
from ssltok.training import keyed_generator

__all__ = ["Cell", "Settings", "cell_path", "run_cell", "write_json"]

SCHEMA = 1
EXAMPLES, EXAMPLE_CLASSES = 3, 6


class Cell(NamedTuple):
    """Which cell."""

    dataset: str
    arm: str
    seed: int


class Settings(NamedTuple):
    """What all cells of a results folder share."""

    split: str = "test"
    size: str = "small"
    most_test: int = 1000
    probe_every: int = 0
    judge: JudgeSettings = JudgeSettings()


def cell_path(folder: pathlib.Path, cell: Cell) -> pathlib.Path:
    """Where a cell's JSON is; the arm's name may hold signs that a file's must not."""
    plain = "".join(c if c.isalnum() or c in "+-_.=," else "_" for c in cell.arm)
    digest = hashlib.sha256(cell.arm.encode()).hexdigest()[:6]
    return folder / "cells" / f"{cell.dataset}--{plain[:80]}-{digest}--{cell.seed}.json"


def run_cell(
    cell: Cell,
    data: Dataset,
    settings: Settings,
    *,
    steps: tuple[int, int],
    folder: pathlib.Path,
) -> dict[str, Any]:
    """Train and measure a cell, write its JSON, and return what was written."""
    begun = time.perf_counter()
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    arm = _with_steps(build_arm(cell.arm, size=settings.size), steps)
    split = make_split(
        cell.dataset, data, kind=settings.split, seed=cell.seed, most_test=settings.most_test
    )
    judge = _judge(split, settings.judge, folder)
    judged = time.perf_counter()
    trained = _train(arm, split, settings, steps, cell.seed)
    seconds = dict(trained.seconds, judge=judged - begun)
    mark = time.perf_counter()
    wanted = judge.wanted
    lengths = split.train.lengths[judge.own].repeat(len(wanted) // len(judge.own))
    made, made_codes = draw_series(
        arm, trained, labels=wanted, lengths=lengths,
        generator=keyed_generator(cell.seed, "study sample"),
    )  # fmt: skip
    seconds["generate"] = time.perf_counter() - mark
    mark = time.perf_counter()
    found = tokenizer_figures(trained.tokenizer, split)
    found |= judge.figures(made, wanted)
    rebuilt = judge.figures(_rebuilt(trained, judge), split.train_labels[judge.own])
    found |= {f"{name}_rebuilt": rebuilt[name] for name in ("fid", "cas")}
    found |= _held_out_loss(trained, split, judge)
    seconds["evaluate"] = time.perf_counter() - mark
    trace = trace_decoding(arm, trained, labels=wanted, lengths=lengths, seed=cell.seed)
    seconds["all"] = time.perf_counter() - begun
    counts = {
        **judge.cases, "cas": len(judge.own), "made": len(made), "target": len(judge.target),
    }  # fmt: skip
    record = {
        "schema": SCHEMA,
        **cell._asdict(),
        "settings": _plain(settings),
        "steps": list(steps),
        "share": arm.share,
        "config": config_to_dict(arm.config),
        "parts": dict(arm.changes),
        "figures": found,
        "floor": judge.floor,
        "cases": {"train": len(split.train_labels), "test": len(split.test_labels), **counts},
        "seconds": {k: round(v, 3) for k, v in seconds.items()},
        "curve": trained.curve,
        "trace": trace,
        "examples": _examples(made, wanted),
        "losses": trained.losses,
        "tokens": list(trained.tokenizer.sizes),
        "parameters": {
            "tokenizer": sum(p.numel() for p in trained.tokenizer.parameters()),
            "prior": sum(p.numel() for p in trained.prior.parameters()),
        },
        "digests": {
            "data": split.digest()[:16],
            "training": _state_digest(trained),
            "generated": hashlib.sha256(made_codes.numpy().tobytes()).hexdigest()[:16],
        },
        "provenance": {"started": started, **_provenance()},
    }
    write_json(cell_path(folder, cell), record)
    return record


def tokenizer_figures(tokenizer: Tokenizer, split: Split) -> dict[str, float]:
    """Measure a tokenizer in evaluation mode: probes, reconstruction, use of the codebook.

    Probes read the code vectors: their mean over the tokens of each branch (`pooled`), and all of
    them, in their places (`grid`); the same for every arm.
    """
    was = tokenizer.training
    tokenizer.eval()
    train, test = (scale(tokenizer, part) for part in (split.train, split.test))
    codes = [encode_series(tokenizer, part) for part in (train, test)]
    figures: dict[str, float] = {}
    pooled, grid = zip(*(_representations(tokenizer, c) for c in codes), strict=True)
    for kind, (a, b) in (("pooled", pooled), ("grid", grid)):
        found = probe_accuracies(a, split.train_labels, b, split.test_labels)
        figures |= {f"{name}_{kind}": value for name, value in found.items()}
    figures["reconstruction"] = _reconstruction(tokenizer, test, codes[1])
    size = tokenizer.codebook_size
    parts = torch.split(codes[1], list(tokenizer.sizes), dim=1)
    figures["perplexity"] = float(
        np.mean([float(codebook_perplexity(c, codebook_size=size)) for c in parts])
    )
    figures["used"] = float(np.mean([float(codebook_usage(c, codebook_size=size)) for c in parts]))
    tokenizer.train(was)
    return figures


@torch.no_grad()
def _representations(tokenizer: Tokenizer, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean code vector by branch, `(cases, dim * branches)`, and all vectors in one row."""
    parts = torch.split(codes, list(tokenizer.sizes), dim=1)
    pooled, flat = [], []
    for vectors, part in zip(tokenizer.vectors(codes), parts, strict=True):
        real = (part >= 0).view(len(part), *vectors.shape[2:])
        pooled.append(mean_pool(vectors, real, channel_dim=1))
        flat.append(vectors.masked_fill(~real[:, None], 0.0).flatten(1))
    return torch.cat(pooled, 1), torch.cat(flat, 1)


@torch.no_grad()
def _reconstruction(tokenizer: Tokenizer, series: SeriesSet, codes: Tensor) -> float:
    """Mean squared error over what is real, in units of the training split's deviation."""
    rebuilt = torch.cat([tokenizer.decode(part) for part in torch.split(codes, 256)])
    error = (rebuilt - series.values).square().where(series.valid, 0.0)
    return float(error.double().sum() / series.valid.sum())


def _train(
    arm: Arm, split: Split, settings: Settings, steps: tuple[int, int], seed: int
) -> Trained:
    """Train the arm, unless the last arm differed only in how it draws series."""
    key = f"{split.digest()} {arm.training} {settings} {steps} {seed}"
    if key not in TRAINED:
        TRAINED.clear()
        TRAINED[key] = train_arm(
            arm, split, steps=steps, seed=seed,
            probe=lambda tokenizer: tokenizer_figures(tokenizer, split),
            probe_every=settings.probe_every,
        )  # fmt: skip
    return TRAINED[key]


def _examples(made: Tensor, labels: Tensor) -> dict[str, Any]:
    """The first series of the first classes, for figures."""
    chosen = [
        index
        for label in torch.unique(labels).tolist()[:EXAMPLE_CLASSES]
        for index in (labels == label).nonzero()[:EXAMPLES, 0].tolist()
    ]
    series = [[[round(v, 4) for v in row] for row in made[index].tolist()] for index in chosen]
    return {"series": series, "labels": labels[chosen].tolist()}


def _held_out_loss(trained: Trained, split: Split, judge: Judge) -> dict[str, float]:
    """The prior's loss on judged series, nats a token, with half and with all tokens hidden."""
    series = scale(trained.tokenizer, split.test.take(judge.target))
    codes = encode_series(trained.tokenizer, series)
    labels = split.test_labels[judge.target]
    found = loss_by_share(trained.prior, codes, labels, shares=(0.5, 1.0))
    return {"loss_half": found[0.5], "loss_all": found[1.0]}


@torch.no_grad()
def _rebuilt(trained: Trained, judge: Judge) -> Tensor:
    """The judge's training series through the tokens and back: a prior that were perfect."""
    tokenizer, codes = trained.tokenizer, trained.codes[judge.own]
    series = torch.cat([tokenizer.decode(part) for part in codes.split(256)])
    rebuilt: Tensor = tokenizer.scaler.inverse(series)
    return rebuilt


def _with_steps(arm: Arm, steps: tuple[int, int]) -> Arm:
    config = arm.config
    one = dataclasses.replace(config.tokenizer_training, steps=steps[0])
    two = dataclasses.replace(config.prior_training, steps=steps[1])
    config = dataclasses.replace(config, tokenizer_training=one, prior_training=two)
    return arm._replace(config=config)


JUDGES: dict[str, Judge] = {}
TRAINED: dict[str, Trained] = {}


def _judge(split: Split, settings: JudgeSettings, folder: pathlib.Path) -> Judge:
    """The split's judge; the last one is kept, as cells of a split follow each other."""
    key = f"{split.digest()} {settings}"
    if key not in JUDGES:
        JUDGES.clear()
        JUDGES[key] = Judge(split, settings, cache=folder / "judges")
    return JUDGES[key]


def _state_digest(trained: Trained) -> str:
    sha = hashlib.sha256()
    for part in (trained.tokenizer, trained.prior):
        for name, value in part.state_dict().items():
            sha.update(name.encode() + value.contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]


def _plain(settings: Settings) -> dict[str, Any]:
    return {**settings._asdict(), "judge": settings.judge._asdict()}


@functools.cache
def _provenance() -> dict[str, str]:
    root = pathlib.Path(__file__).parents[3]

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else "unknown"

    return {
        "commit": git("rev-parse", "HEAD"),
        "changed": str(
            bool(git("status", "--porcelain", "--", "src", "benchmarks/studies/ssl_tokens"))
        ),
        "ssltok": ssltok.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "python": platform.python_version(),
        "machine": machine(),
    }


def write_json(path: pathlib.Path, record: Any) -> None:
    """Write a file that is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    os.replace(draft, path)
