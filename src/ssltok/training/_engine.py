"""One stage of training: accelerate moves and reduces, and everything else is a function of step.

Data order, noise and checkpoints are our own. Order and noise depend on (seed, purpose, step)
alone, and a checkpoint is a whole folder or not there; so a run that was killed anywhere ends
with the bits of one that was not.
"""

import contextlib
import os
import pathlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ssltok._shared.extras import need
from ssltok.optim import warmup_cosine_schedule
from ssltok.training._checkpoints import History, Memory
from ssltok.training._config import TrainingConfig
from ssltok.training._divergence import Watch
from ssltok.training._randomness import keyed_seed, seeded
from ssltok.training._sync_norm import synchronize_norms

__all__ = ["ObserveStep", "Stage", "accelerated", "build_accelerator", "train_stage"]

ObserveStep = Callable[[str, int, dict[str, float]], None]
"""Called after each step on the first process: the stage's name, the step, and its terms."""


class Result(Protocol):
    """What a stage's model returns for a batch."""

    @property
    def loss(self) -> Tensor:
        """The scalar to minimise."""
        ...

    @property
    def logged(self) -> dict[str, Tensor]:
        """Scalars to record and to show."""
        ...


class Stage(NamedTuple):
    """What is special about a stage.

    Attributes:
        name: Of its folder of checkpoints and its progress bar.
        model: Called with a batch, it gives a `Result`.
        draw: `draw(step, rows)` gives these rows of the step's global batch.
        after_step: `after_step(step, results)` updates what the optimizer does not.
        validate: `validate()` gives the number that must fall; None where nothing is held out.
        partial_steps: Whether a step may leave some parameters without a gradient, such as the
            heads of codes that it does not ask for: several processes must know it beforehand.
    """

    name: str
    model: nn.Module
    draw: Callable[[int, slice], Any]
    after_step: Callable[[int, list[Any]], None]
    validate: Callable[[], float] | None
    partial_steps: bool = False


def build_accelerator(precision: str, *, cpu: bool = False) -> Any:
    """Set up the engine, and make sure it runs on the processes that were launched.

    Without an accelerator on the machine it runs on the CPU, over gloo where there are several
    processes. It takes the place of an engine that the program has had: see `accelerated`.

    Args:
        precision: `no`, `bf16` or `fp16`.
        cpu: Stay on the CPU even where there is an accelerator.

    Returns:
        An `accelerate.Accelerator`.

    Raises:
        RuntimeError: If the launcher started more processes than the engine found.

    Example:
        >>> from ssltok.training import build_accelerator
        >>> str(build_accelerator("no", cpu=True).device)
        'cpu'
    """
    from datetime import timedelta

    need("build_accelerator", "accelerate")
    from accelerate import Accelerator, DataLoaderConfiguration, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=cpu or not torch.accelerator.is_available(),
        mixed_precision=precision,
        dataloader_config=DataLoaderConfiguration(),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(seconds=120))],
    )
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != launched:
        raise RuntimeError(
            f"build_accelerator: all {launched} launched processes must take part; "
            f"got {accelerator.num_processes}"
        )
    return accelerator


ENGINE = threading.RLock()
"""Held while there is an engine: accelerate has one for a whole program, so threads take turns."""


@contextlib.contextmanager
def accelerated(precision: str, *, cpu: bool = False) -> Iterator[Any]:
    """Set up the engine for a while: what the program's own engine shares is as it was after.

    Args:
        precision: As for `build_accelerator`.
        cpu: As for `build_accelerator`.

    Yields:
        An `accelerate.Accelerator`, good within the block alone.

    Example:
        >>> from ssltok.training import accelerated
        >>> with accelerated("no", cpu=True) as accelerator:
        ...     str(accelerator.device)
        'cpu'
    """
    need("accelerated", "accelerate")
    from accelerate.state import AcceleratorState, GradientState, PartialState

    with ENGINE:
        shared = [state._shared_state for state in (AcceleratorState, GradientState, PartialState)]
        before = [dict(state) for state in shared]
        try:
            for state in shared:
                state.clear()
            yield build_accelerator(precision, cpu=cpu)
        finally:
            for state, values in zip(shared, before, strict=True):
                state.clear()
                state.update(values)


def train_stage(
    stage: Stage,
    config: TrainingConfig,
    *,
    steps: int,
    seed: int,
    accelerator: Any,
    folder: pathlib.Path | None = None,
    fingerprint: str = "",
    progress: bool = False,
    workers: int = 0,
    observe: ObserveStep | None = None,
) -> History:
    """Train until `steps`, or until nothing held out improves; resume where a run was killed.

    Args:
        stage: The model, its batches and its hooks.
        config: Learning rate, clipping, patience and the like.
        steps: Optimizer steps.
        seed: The run's seed.
        accelerator: From `build_accelerator`.
        folder: Where checkpoints are kept; None keeps none.
        fingerprint: What must be equal for a checkpoint to be taken up again.
        progress: Show a bar.
        workers: Processes that prepare batches.
        observe: Called after each step with the stage's name, the step from 0 and the terms that
            `History` records, on the first process alone; steps before a checkpoint that is taken
            up again are not repeated. What it draws at random changes nothing, and an error of
            it stops the training.

    Returns:
        What was recorded.

    Raises:
        ValueError: If a checkpoint belongs to another run.
        FloatingPointError: If the loss or a weight is no longer finite: with the step, and what
            to lower. The last checkpoint is from before.

    Example:
        >>> from typing import NamedTuple
        >>> import torch
        >>> from torch import Tensor, nn
        >>> from ssltok.training import Stage, TrainingConfig, accelerated, train_stage
        >>> class Step(NamedTuple):
        ...     loss: Tensor
        ...     logged: dict[str, Tensor]
        >>> class Model(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = nn.Linear(1, 1)
        ...     def forward(self, x):
        ...         loss = (self.layer(x) - 3 * x).square().mean()
        ...         return Step(loss, {"loss": loss})
        >>> stage = Stage(
        ...     "line", Model(), draw=lambda step, rows: torch.ones(4, 1)[rows],
        ...     after_step=lambda step, results: None, validate=None,
        ... )
        >>> config = TrainingConfig(steps=3, batch=4, learning_rate=0.1)
        >>> with accelerated("no", cpu=True) as accelerator:
        ...     history = train_stage(stage, config, steps=3, seed=0, accelerator=accelerator)
        >>> history.names, history.rows.shape
        (('loss',), torch.Size([3, 1]))
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    if config.batch % (config.accumulation * world):
        raise ValueError(
            f"train_stage: batch must be a multiple of accumulation times processes; "
            f"got {config.batch}, {config.accumulation} and {world}"
        )
    if world > 1:
        synchronize_norms(stage.model)
    stage.model.train()
    fused = all(p.is_floating_point() for p in stage.model.parameters())
    optimizer = torch.optim.AdamW(
        stage.model.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=fused,
    )
    if world > 1:
        accelerate = need("train_stage", "accelerate")
        accelerator.ddp_handler = accelerate.DistributedDataParallelKwargs(
            find_unused_parameters=stage.partial_steps
        )
    model, prepared = accelerator.prepare(stage.model, optimizer)
    # Without loss scaling accelerate's own steps do what torch's do, more slowly.
    plain = accelerator.scaler is None
    stepper = optimizer if plain else prepared
    weights = list(model.parameters())
    memory = Memory(stage.name, stage.model, optimizer, folder, fingerprint)
    memory.resume(accelerator)
    start = memory.step
    watch = Watch(memory, config, steps, scaled=not plain)
    loader = _batches(stage, config, start, steps, rank, world, workers)
    with contextlib.ExitStack() as closing:
        watchers: list[ObserveStep] = []
        if accelerator.is_main_process:
            watchers += _curves(folder, stage.name, start, closing)
            watchers += [] if observe is None else [observe]
        bar = _bar(stage.name, start, steps, shown=progress and accelerator.is_main_process)
        closing.callback(bar.close)
        moves = accelerator.device.type != "cpu"
        for step in range(start, steps):
            if memory.stopped:
                break
            results = []
            with seeded(keyed_seed(seed, f"{stage.name}-noise", step, rank)):
                for turn in range(config.accumulation):
                    last = turn == config.accumulation - 1
                    batch = next(loader)
                    if moves:
                        batch = _to_device(batch, accelerator.device)
                    with contextlib.nullcontext() if last else accelerator.no_sync(model):
                        result = model(batch)
                        loss = result.loss
                        if config.accumulation > 1:
                            loss = loss / config.accumulation
                        if plain:
                            loss.backward()
                        else:
                            accelerator.backward(loss)
                    results.append(result)
            if config.clip:
                if not plain:
                    accelerator.unscale_gradients(prepared)
                torch.nn.utils.clip_grad_norm_(weights, config.clip)
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(config, step, steps)
            stepper.step()
            stepper.zero_grad()
            watch.check_loss(memory.record(results))
            stage.after_step(step, results)
            bar.update(memory.shown)
            for watcher in watchers:
                watcher(stage.name, step, memory.terms())
            done = step + 1
            if stage.validate and config.patience and done % config.validate_every == 0:
                memory.judge(_validate(stage, seed), config.patience)
            if done == steps or (folder is not None and done % config.checkpoint_every == 0):
                watch.check_weights(weights)
            if folder is not None and (done % config.checkpoint_every == 0 or done == steps):
                if accelerator.is_main_process:
                    memory.save()
                accelerator.wait_for_everyone()
    memory.restore_best()
    stage.model.eval()
    accelerator.free_memory()
    return memory.history()


class _Steps(Dataset[Any]):
    """Item `i` is this process's share of turn `i % accumulation` of step `i // accumulation`."""

    def __init__(self, stage: Stage, config: TrainingConfig, rank: int, world: int) -> None:
        self.draw, self.turns = stage.draw, config.accumulation
        self.share = config.batch // (config.accumulation * world)
        self.rank, self.world = rank, world

    def __getitem__(self, item: int) -> Any:
        step, turn = divmod(item, self.turns)
        first = (turn * self.world + self.rank) * self.share
        return self.draw(step, slice(first, first + self.share))


def _batches(
    stage: Stage,
    config: TrainingConfig,
    start: int,
    steps: int,
    rank: int,
    world: int,
    workers: int,
) -> Iterator[Any]:
    places = range(start * config.accumulation, steps * config.accumulation)
    items = _Steps(stage, config, rank, world)
    if workers == 0:
        return map(items.__getitem__, places)
    return iter(
        DataLoader(
            items,
            sampler=places,
            batch_size=None,
            num_workers=workers,
            # The loader draws a seed for its workers: from here, not from the global generator.
            generator=torch.Generator().manual_seed(0),
        )
    )


def _curves(
    folder: pathlib.Path | None, name: str, start: int, closing: contextlib.ExitStack
) -> list[ObserveStep]:
    """What writes for TensorBoard beside the checkpoints; nothing without either."""
    if folder is None:
        return []
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return []
    writer = SummaryWriter(folder / "tensorboard" / name, purge_step=start)
    closing.callback(writer.close)

    def write(name: str, step: int, terms: dict[str, float]) -> None:
        for term, value in terms.items():
            writer.add_scalar(term, value, step)

    return [write]


def _learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    warmup = int(config.warmup_ratio * steps)
    return warmup_cosine_schedule(
        step,
        steps=steps,
        start=config.learning_rate,
        warmup_steps=warmup,
        # the first step is a step too
        warmup_start=config.learning_rate / (warmup + 1),
    )


def _validate(stage: Stage, seed: int) -> float:
    if stage.validate is None:
        raise ValueError(f"{stage.name}: held-out series must be given to validate; got none")
    was = stage.model.training
    stage.model.eval()
    with torch.no_grad(), seeded(keyed_seed(seed, f"{stage.name}-validation")):
        value = stage.validate()
    stage.model.train(was)
    return value


def _to_device(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_to_device(item, device) for item in batch))
    if isinstance(batch, tuple):
        return tuple(_to_device(item, device) for item in batch)
    return batch


class _bar:  # noqa: N801
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, name: str, start: int, steps: int, *, shown: bool) -> None:
        self.bar = need("train_stage", "tqdm").tqdm(
            total=steps,
            initial=start,
            desc=name,
            disable=None if shown else True,
            dynamic_ncols=True,
            mininterval=0.2,
        )

    def update(self, values: Callable[[], dict[str, str]]) -> None:
        if not self.bar.disable:
            self.bar.set_postfix(values(), refresh=False)
            self.bar.update()

    def close(self) -> None:
        self.bar.close()
