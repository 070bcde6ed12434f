"""Train an arm: the steps of `ssltok.pipelines.fit`, timed, with an arm's parts in their place."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from benchmarks.studies.ssl_tokens.arms import Arm
from benchmarks.studies.ssl_tokens.data import Split
from benchmarks.studies.ssl_tokens.parts import (
    StudyTokenizerModel,
    build_prior,
    replace_prior_step,
    replace_view,
)
from benchmarks.studies.ssl_tokens.tokens import replace_quantizers
from torch import Tensor

from ssltok.data import SeriesSet
from ssltok.pipelines import Prior, Tokenizer, encode_series
from ssltok.pipelines._fit import start_codebooks
from ssltok.pipelines._stages import prior_stage, tokenizer_stage
from ssltok.training import keyed_generator
from ssltok.training._engine import build_accelerator, train_stage

__all__ = ["Clock", "Trained", "train_arm"]


class Trained(NamedTuple):
    """A trained arm, the codes of its training series, and what the training took."""

    tokenizer: Tokenizer
    prior: Prior
    codes: Tensor
    seconds: dict[str, float]
    curve: list[dict[str, float]]
    losses: dict[str, list[float]]


class Clock:
    """The time of each step of a stage, without that of anything done while it is stopped."""

    def __init__(self) -> None:
        self.stopped: tuple[float, ...] = (0.0, 0.0)
        self.marks: list[float] = []
        self.begin()

    def begin(self) -> None:
        """The stage begins now."""
        self.start = _now()

    def mark(self) -> None:
        """A step has ended."""
        self.marks.append(time.process_time())

    def stop_for(self, work: Callable[[], Any]) -> Any:
        """Do something that is no part of the training."""
        start = _now()
        result = work()
        self.stopped = tuple(s + b - a for s, a, b in zip(self.stopped, start, _now(), strict=True))
        return result

    def seconds(self) -> tuple[float, float]:
        """Seconds since the start, less the stops: of the wall's clock and of the processor."""
        wall, own = (b - a - s for a, b, s in zip(self.start, _now(), self.stopped, strict=True))
        return wall, own


def _now() -> tuple[float, ...]:
    return time.perf_counter(), time.process_time()


def train_arm(
    arm: Arm,
    split: Split,
    *,
    steps: tuple[int, int],
    seed: int,
    probe: Callable[[Tokenizer], dict[str, float]] | None = None,
    probe_every: int = 0,
    clocks: tuple[Clock, Clock] | None = None,
) -> Trained:
    """Train both stages of an arm on the training part of a split.

    The test part is not read. An arm without replaced parts ends with the weights of
    `ssltok.pipelines.fit`, bit for bit.

    Args:
        arm: What to train.
        split: The series.
        steps: Optimizer steps of each stage.
        seed: Decides every weight, order and noise.
        probe: Measures the tokenizer while it is trained; its time is not counted.
        probe_every: Steps between two probes; 0 for none.
        clocks: Where the times of the steps are left.

    Returns:
        The trained parts.
    """
    config, data, labels = arm.config, split.train, split.train_labels
    accelerator = build_accelerator("no", cpu=True)
    clock = clocks[0] if clocks else Clock()
    clock.begin()
    with torch.random.fork_rng():
        torch.manual_seed(keyed_generator(seed, "weights").initial_seed())
        tokenizer = Tokenizer(
            config.tokenizer, channels=data.values.shape[1], length=data.values.shape[2]
        )
        rows = min(config.tokenizer_training.batch, len(data.values))
        replace_quantizers(tokenizer, arm.parts.quantizer)
        model = StudyTokenizerModel(tokenizer, arm.parts, batch=rows)
        prior_seed = torch.random.initial_seed()
    tokenizer.scaler.fit(data.values, data.valid)
    scaled = data._replace(values=tokenizer.scale(data.values, data.valid))
    start_codebooks(tokenizer, scaled, seed=seed)
    stage, training, _ = tokenizer_stage(model, scaled, config, seed, 1)
    curve: list[dict[str, float]] = []
    update = stage.after_step

    def after_step(step: int, results: list[Any]) -> None:
        update(step, results)
        clock.mark()
        if probe is not None and probe_every and (step + 1) % probe_every == 0:
            found = clock.stop_for(lambda: probe(tokenizer))
            curve.append({"step": step + 1, "seconds": clock.seconds()[0], **found})

    stage = replace_view(arm.parts, stage._replace(after_step=after_step), tokenizer, seed)
    common: dict[str, Any] = {"seed": seed, "accelerator": accelerator}
    history = train_stage(stage, training, steps=steps[0], **common)
    losses = _summary(history)
    tokenizer.requires_grad_(False)
    seconds = dict(zip(("tokenizer", "tokenizer_cpu"), clock.seconds(), strict=True))

    clock = clocks[1] if clocks else Clock()
    clock.begin()
    codes = encode_series(tokenizer, scaled)
    with torch.random.fork_rng():
        torch.manual_seed(prior_seed)
        prior = build_prior(arm.parts, config.prior, tokenizer, classes=split.classes)
    stage, training, _ = prior_stage(prior, codes, labels, config, seed, 1)
    stage = stage._replace(after_step=lambda step, results: clock.mark())
    stage = replace_prior_step(arm.parts, stage, prior, seed)
    history = train_stage(stage, training, steps=steps[1], **common)
    losses |= {f"prior {k}": v for k, v in _summary(history).items()}
    prior.requires_grad_(False)
    seconds |= dict(zip(("prior", "prior_cpu"), clock.seconds(), strict=True))
    return Trained(tokenizer, prior, codes, seconds, curve, losses)


def scale(tokenizer: Tokenizer, data: SeriesSet) -> SeriesSet:
    """Series in the tokenizer's units, which are those of the training split."""
    return data._replace(values=tokenizer.scale(data.values, data.valid))


def _summary(history: Any) -> dict[str, list[float]]:
    """Each recorded term, as the mean of each tenth of the steps."""
    parts = history.rows.tensor_split(min(10, len(history.rows)))
    return {
        name: [round(float(part[:, column].mean()), 6) for part in parts]
        for column, name in enumerate(history.names)
    }
