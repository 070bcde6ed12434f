"""Train an arm: the steps of `ssltok.pipelines.fit`, timed, with an arm's parts in their place."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.studies.ssl_tokens.arms import Arm
from benchmarks.studies.ssl_tokens.data import Split
from benchmarks.studies.ssl_tokens.parts import invert_masks, library_parts, study_prior
from benchmarks.studies.ssl_tokens.tokens import replace_quantizers
from torch import Tensor

from ssltok.data import SeriesSet
from ssltok.nn import average_max_pool
from ssltok.pipelines import (
    Prior,
    TokenFeatures,
    Tokenizer,
    TokenizerModel,
    build_objective,
    build_tokenizer,
    compare,
    encode_series,
    prior_stage,
    start_tokenizer,
    tokenizer_stage,
)
from ssltok.training import accelerated, keyed_seed, seeded, train_stage

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
    with accelerated("no", cpu=True) as accelerator:
        return _train(
            arm, split, steps, seed, accelerator, probe, probe_every, clocks or (Clock(), Clock())
        )


def _train(
    arm: Arm,
    split: Split,
    steps: tuple[int, int],
    seed: int,
    accelerator: Any,
    probe: Callable[[Tokenizer], dict[str, float]] | None,
    probe_every: int,
    clocks: tuple[Clock, Clock],
) -> Trained:
    config, data, labels = arm.config, split.train, split.train_labels
    parts, clock = library_parts(arm), clocks[0]
    clock.begin()
    channels, length = data.values.shape[1:]
    with seeded(keyed_seed(seed, "weights")):
        tokenizer = build_tokenizer(config.tokenizer, channels=channels, length=length)
        tokenizer = replace_quantizers(tokenizer, config.tokenizer, arm.parts.quantizer)
        rows = min(config.tokenizer_training.batch, len(data.values))
        features = TokenFeatures(tokenizer, pool=average_max_pool)
        objective = build_objective(config.tokenizer, features, batch=rows, parts=parts)
    views = 1 if objective is None else objective.views
    model = TokenizerModel(tokenizer, objective, compare(config.tokenizer, parts, views))
    tokenizer.scaler.fit(data.values, data.valid)
    scaled = data._replace(values=tokenizer.scale(data.values, data.valid))
    start_tokenizer(tokenizer, scaled, seed=seed, codebooks=config.tokenizer.kmeans)
    stage, training, _ = tokenizer_stage(model, scaled, labels, config, seed=seed, world=1)
    curve: list[dict[str, float]] = []
    update = stage.after_step

    def after_step(step: int, results: list[Any]) -> None:
        update(step, results)
        clock.mark()
        if probe is not None and probe_every and (step + 1) % probe_every == 0:
            found = clock.stop_for(lambda: probe(tokenizer))
            curve.append({"step": step + 1, "seconds": clock.seconds()[0], **found})

    common: dict[str, Any] = {"seed": seed, "accelerator": accelerator}
    stage = stage._replace(after_step=after_step)
    history = train_stage(stage, training, steps=steps[0], **common)
    losses = _summary(history)
    tokenizer.requires_grad_(False)
    seconds = dict(zip(("tokenizer", "tokenizer_cpu"), clock.seconds(), strict=True))

    later = clocks[1]
    later.begin()
    codes = encode_series(tokenizer, scaled)
    with seeded(keyed_seed(seed, "weights")):
        prior = study_prior(arm.parts, config.prior, tokenizer, classes=split.classes)
    stage, training, _ = prior_stage(prior, codes, labels, config, seed=seed, world=1, parts=parts)
    stage = stage._replace(after_step=lambda step, results: later.mark())
    stage = invert_masks(arm.parts, stage, prior, seed)
    history = train_stage(stage, training, steps=steps[1], **common)
    losses |= {f"prior {k}": v for k, v in _summary(history).items()}
    prior.requires_grad_(False)
    seconds |= dict(zip(("prior", "prior_cpu"), later.seconds(), strict=True))
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
