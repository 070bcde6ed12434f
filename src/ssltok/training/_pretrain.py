"""Train an encoder alone: an objective, views of series, and the engine of the two stages."""

import copy
import hashlib
import json
import os
import pathlib
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssltok._shared.identity import identity_of
from ssltok.data import SeriesSet, SeriesSource, SourceSet, is_source, read_source, take_rows
from ssltok.training._batches import hold_out, view_generators
from ssltok.training._checkpoints import History
from ssltok.training._config import TrainingConfig
from ssltok.training._engine import ObserveStep, Stage, accelerated, train_stage
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._randomness import keyed_generator, keyed_seed, ordered_batch, seeded

__all__ = ["PretrainConfig", "Pretrained", "pretrain"]

Augment = Callable[..., Tensor]


class PretrainConfig(NamedTuple):
    """What a run of `pretrain` is beside its parts."""

    training: TrainingConfig = TrainingConfig()
    """How long and how fast."""
    precision: str = "no"
    """Mixed precision: `no`, `bf16` or `fp16`."""
    workers: int = 0
    """Processes that prepare batches; the result does not depend on it."""
    cpu: bool = False
    """Whether to stay on the CPU where there is an accelerator."""


class Pretrained(NamedTuple):
    """A trained encoder, what it was trained with, and what was recorded; on the CPU.

    Attributes:
        encoder: What was trained.
        objective: What it learned from, with its projectors, teacher or centre.
        history: Loss and terms of each step.
    """

    encoder: nn.Module
    objective: nn.Module
    history: History


class _Model(nn.Module):
    """Encoder and objective as one module, so that an engine can wrap it."""

    def __init__(self, encoder: nn.Module, objective: nn.Module) -> None:
        super().__init__()
        self.encoder, self.objective = encoder, objective

    def forward(self, batch: ObjectiveBatch) -> ObjectiveOutput:
        output: ObjectiveOutput = self.objective(self.encoder, batch)
        return output._replace(logged={"loss": output.loss, **output.logged})


def pretrain(
    encoder: nn.Module,
    objective: Any,
    data: SeriesSet | SourceSet | SeriesSource | NDArray[Any],
    *,
    augment: Augment | None = None,
    labels: Tensor | None = None,
    config: PretrainConfig = PretrainConfig(),  # noqa: B008  it is immutable
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    progress: bool = False,
    observe: ObserveStep | None = None,
) -> Pretrained:
    """Train an encoder by a self-supervised objective; neither of the caller's modules changes.

    The engine is that of the tokenizer's stages: it resumes bit for bit from `folder`, runs under
    `torchrun`, holds series out, mixes precision, shows a bar and writes TensorBoard's files.

    Args:
        encoder: A module with `dim` and what the objective asks of it: see `Objective`.
        objective: A class or `functools.partial` of one, called with the encoder, such as
            `partial(BYOL, momentum=0.99)`; or an objective that was built for this encoder.
        data: Series at the scale of the encoder, such as those of `read_series` after a
            `ChannelScaler`; what ends early is padding, and the encoder is told by `valid=`. A
            source, a memory-mapped array or a `SourceSet` (such as `read_source(X).changed(scale)`)
            is read batch by batch, by each process its own rows where there is no `augment`.
        augment: Makes a view, called with `(series, valid=, generator=)`; None gives the series
            themselves, to objectives of one view.
        labels: int64 `(cases,)`, -1 for none.
        config: How long and how fast, precision, workers.
        seed: Decides every weight, order and noise.
        folder: Where checkpoints are kept, and taken up again; None keeps none.
        progress: Show a bar.
        observe: Called after each step, as by `train_stage`, with the stage's name `"pretrain"`.

    Returns:
        A trained copy of the encoder in evaluation mode, the objective, and the record.

    Raises:
        ValueError: If the objective wants several views and there is no `augment`, or labels are
            not as many as series; before any training.
        TypeError: If `data` is no such set or source.

    Example:
        >>> from functools import partial
        >>> import torch
        >>> from ssltok.augment import gaussian_noise
        >>> from ssltok.data import read_series
        >>> from ssltok.training import PretrainConfig, TrainingConfig, VICReg, pretrain
        >>> class Encoder(torch.nn.Module):
        ...     dim = 4
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 4))
        ...     def forward(self, series, valid=None):
        ...         return self.net(series)
        >>> data = read_series(torch.randn(8, 1, 16, generator=torch.Generator().manual_seed(0)))
        >>> trained = pretrain(
        ...     Encoder(), partial(VICReg, projector_dim=8), data, augment=gaussian_noise,
        ...     config=PretrainConfig(TrainingConfig(steps=2, batch=8), cpu=True),
        ... )
        >>> trained.encoder(data.values).shape, len(trained.history.rows)
        (torch.Size([8, 4]), 2)
    """
    series = read_source(data, who="pretrain") if is_source(data) else data
    if not isinstance(series, SeriesSet | SourceSet):
        raise TypeError(
            "pretrain: data must be a SeriesSet, as read_series gives it, or a source; "
            f"got {type(data).__name__}"
        )
    cases = series.cases
    if labels is not None and len(labels) != cases:
        raise ValueError(f"pretrain: labels must be {cases}, as many as series; got {len(labels)}")
    with seeded(keyed_seed(seed, "weights")):
        if isinstance(objective, partial | type):
            trained = copy.deepcopy(encoder)
            built: nn.Module = objective(trained)
        else:
            trained, built = copy.deepcopy((encoder, objective))
    views = int(built.views)  # type: ignore[arg-type]
    if views > 1 and augment is None:
        raise ValueError(
            f"pretrain: augment must make the {views} views that {type(built).__name__} compares; "
            "got None"
        )
    model = _Model(trained, built)
    known = torch.full((cases,), -1) if labels is None else labels
    with accelerated(config.precision, cpu=config.cpu) as accelerator:
        parts = hold_out(
            cases, config.training, seed=seed, world=accelerator.num_processes, who="pretrain"
        )
        if isinstance(series, SourceSet):
            series.measure(progress=progress)
        ragged = bool((series.lengths < series.shape[2]).any())
        times = torch.arange(series.shape[2])
        shared = isinstance(series, SourceSet) and augment is None  # an augment may mix series

        def batch_of(index: Tensor, step: int, rows: slice, purpose: str) -> ObjectiveBatch:
            part = take_rows(series, index, rows) if shared else series.take(index)
            within = times < part.lengths[:, None]
            drawn = [part.values] * views
            if augment is not None:
                generators = view_generators(seed, step, views)
                drawn = [augment(part.values, valid=within, generator=g) for g in generators]
            draws = built.draw(len(index), keyed_generator(seed, purpose, step))  # type: ignore[operator]
            return ObjectiveBatch(
                views=tuple(view[rows] for view in drawn),
                valid=within[rows] if ragged else None,
                labels=known[index][rows],
                draws=tuple(each[rows] for each in draws),
                seed=keyed_seed(seed, f"{purpose}-seed", step),
            )

        def draw(step: int, rows: slice) -> ObjectiveBatch:
            order = ordered_batch(
                len(parts.train), parts.training.batch, seed=seed, purpose="pretrain-order",
                step=step,
            )  # fmt: skip
            return batch_of(parts.train[order], step, rows, "objective")

        def after_step(step: int, results: list[ObjectiveOutput]) -> None:
            memory = zip(*(result.memory for result in results), strict=True)
            built.update(trained, tuple(torch.cat(each) for each in memory))  # type: ignore[operator]

        def validate() -> float:
            device = next(trained.parameters()).device
            batch = batch_of(parts.held, 0, slice(None), "held-out")
            moved = ObjectiveBatch(
                views=tuple(view.to(device) for view in batch.views),
                valid=None if batch.valid is None else batch.valid.to(device),
                labels=None if batch.labels is None else batch.labels.to(device),
                draws=tuple(each.to(device) for each in batch.draws),
                seed=batch.seed,
            )
            return float(model(moved).loss)

        stage = Stage("pretrain", model, draw, after_step, validate if len(parts.held) else None)
        history = train_stage(
            stage, parts.training, steps=parts.steps, seed=seed, accelerator=accelerator,
            folder=None if folder is None else pathlib.Path(folder),
            fingerprint=_fingerprint(model, series, known, config, seed, [objective, augment]),
            progress=progress,
            workers=config.workers,
            observe=observe,
        )  # fmt: skip
    trained.cpu().eval()
    return Pretrained(trained, built.cpu().eval(), history)


def _fingerprint(
    model: nn.Module,
    data: SeriesSet | SourceSet,
    labels: Tensor,
    config: PretrainConfig,
    seed: int,
    parts: list[Any],
) -> str:
    """What two runs must share for one to go on with the other's checkpoints."""
    plain = {**config._asdict(), "training": asdict(config.training), "workers": None, "cpu": None}
    whole = [plain, seed, identity_of(parts)]
    sha = hashlib.sha256(json.dumps(whole, sort_keys=True).encode())
    sha.update(data.digest().encode() + labels.numpy().tobytes())
    for name, value in model.state_dict().items():
        sha.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()
