"""Train an arm: the stages of `ssltok.pipelines.fit`, timed, and looked at while they run."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from benchmarks.studies.ssl_tokens.arms import Arm
from benchmarks.studies.ssl_tokens.data import Split
from benchmarks.studies.ssl_tokens.parts import with_quantizers, with_tied_heads
from torch import Tensor

from ssltok.data import SeriesSet
from ssltok.nn import average_max_pool
from ssltok.pipelines import (
    Prior,
    PriorBatch,
    TokenFeatures,
    Tokenizer,
    TokenizerModel,
    build_objective,
    build_prior,
    build_tokenizer,
    compare,
    encode_series,
    prior_stage,
    start_tokenizer,
    tokenizer_stage,
)
from ssltok.training import Stage, accelerated, keyed_generator, seeded, train_stage

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
        common: dict[str, Any] = {"seed": seed, "accelerator": accelerator}
        return _train(arm, split, steps, common, probe, probe_every, clocks or (Clock(), Clock()))


def _train(
    arm: Arm,
    split: Split,
    steps: tuple[int, int],
    common: dict[str, Any],
    probe: Callable[[Tokenizer], dict[str, float]] | None,
    probe_every: int,
    clocks: tuple[Clock, Clock],
) -> Trained:
    config, data, labels, seed = arm.config, split.train, split.train_labels, common["seed"]
    clock = clocks[0]
    clock.begin()
    model = build_stage_one(arm, data, seed=seed)
    tokenizer = model.tokenizer
    tokenizer.scaler.fit(data.values, data.valid)
    scaled = scale(tokenizer, data)
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

    stage = stage._replace(after_step=after_step)
    losses = _summary(train_stage(stage, training, steps=steps[0], **common))
    tokenizer.requires_grad_(False)
    seconds = dict(zip(("tokenizer", "tokenizer_cpu"), clock.seconds(), strict=True))

    second = clocks[1]
    second.begin()
    codes = encode_series(tokenizer, scaled)
    prior = build_stage_two(arm, tokenizer, classes=split.classes, seed=seed)
    stage, training, _ = prior_stage(
        prior, codes, labels, config, seed=seed, world=1, parts=arm.parts
    )
    stage = stage._replace(after_step=lambda step, results: second.mark())
    if arm.parts.mask is not None:
        stage = with_other_masks(stage, arm.parts.mask, prior, seed=seed)
    losses |= {
        f"prior {name}": values
        for name, values in _summary(train_stage(stage, training, steps=steps[1], **common)).items()
    }
    prior.requires_grad_(False)
    seconds |= dict(zip(("prior", "prior_cpu"), second.seconds(), strict=True))
    return Trained(tokenizer, prior, codes, seconds, curve, losses)


def build_stage_one(arm: Arm, data: SeriesSet, *, seed: int) -> TokenizerModel:
    """What `ssltok.pipelines.build_stage_one` builds, and then the arm's own quantizers."""
    config, parts = arm.config.tokenizer, arm.parts
    channels, length = data.values.shape[1:]
    rows = min(arm.config.tokenizer_training.batch, len(data.values))
    with seeded(keyed_generator(seed, "weights").initial_seed()):
        tokenizer = build_tokenizer(config, channels=channels, length=length, parts=parts)
        if arm.quantizer is not None:
            quantizers = [arm.quantizer(config) for _ in tokenizer.parts]
            tokenizer = with_quantizers(tokenizer, quantizers)
        features = TokenFeatures(tokenizer, pool=average_max_pool)
        objective = build_objective(config, features, batch=rows, parts=parts)
    return TokenizerModel(
        tokenizer, objective, compare(config, parts, objective.views if objective else 1)
    )


def build_stage_two(arm: Arm, tokenizer: Tokenizer, *, classes: int, seed: int) -> Prior:
    """The prior, from the codebooks or from noise, with heads of its own or tied ones."""
    config = dataclasses.replace(arm.config.prior, tied=False)
    codebooks = None
    if config.start == "codebook":
        codebooks = [branch.quantizer.codebook.detach() for branch in tokenizer.parts]
    with seeded(keyed_generator(seed, "weights").initial_seed()):
        prior = build_prior(config, tokenizer, classes=classes, codebooks=codebooks)
        return with_tied_heads(prior) if arm.config.prior.tied else prior


def with_other_masks(
    stage: Stage, mask: Callable[..., Tensor], prior: Prior, *, seed: int
) -> Stage:
    """The stage with masks drawn apart from the labels', as the recorded cells have them."""
    draw = stage.draw

    def draw_again(step: int, rows: slice) -> PriorBatch:
        batch: PriorBatch = draw(step, rows)
        generator = keyed_generator(seed, "inverted mask", step)
        masks = [
            mask((len(part), part.shape[1]), valid=part >= 0, generator=generator)
            for part in batch.codes.split(list(prior.sizes), dim=1)
        ]
        return batch._replace(masks=torch.cat(masks, dim=1))

    return stage._replace(draw=draw_again)


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
