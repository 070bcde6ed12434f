"""Stage 1 as `train_stage` wants it: the model, its batches, and what follows a step."""

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssltok._shared.portions import mean_of, portion
from ssltok.data import SeriesSet, SourceSet, take_rows
from ssltok.distributed import gather, is_first, rank_and_world
from ssltok.masking import gap_mask
from ssltok.nn import average_max_pool
from ssltok.pipelines._token_features import Pool, TokenFeatures
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._tokenizer_step import TokenizerBatch, TokenizerOutput, tokenizer_step
from ssltok.pipelines._words._config import Config, TokenizerConfig
from ssltok.pipelines._words._parts import Parts
from ssltok.pipelines._words._tables import AUGMENTATIONS, reads_tokens
from ssltok.training import (
    Objective,
    Stage,
    TrainingConfig,
    hold_out,
    keyed_generator,
    keyed_seed,
    ordered_batch,
    view_generators,
)

__all__ = [
    "Comparison",
    "TokenizerModel",
    "compare",
    "paced",
    "teller",
    "tokenizer_stage",
]

WATCHED = 10  # steps after which a stage knows its pace


def teller(*, progress: bool, verbose: bool | int | None) -> Callable[[str], None] | None:
    """What says a line on stderr: where `verbose` is set, or where it is None and bars are shown.

    Args:
        progress: Whether bars are shown on a terminal.
        verbose: Whether lines are; None does as the bars.
    """
    shown = progress and sys.stderr.isatty() if verbose is None else bool(verbose)
    if not shown or not is_first():
        return None
    return lambda line: print(line, file=sys.stderr, flush=True)


def paced(stage: Stage, steps: int, tell: Callable[[str], None] | None) -> Stage:
    """The stage, which says how long it will take once a few of its steps are done.

    Args:
        stage: Of `train_stage`.
        steps: Steps it is to take.
        tell: From `teller`; None says nothing.

    Returns:
        The stage; nothing that it computes is changed.
    """
    if tell is None:
        return stage
    began: list[float] = []

    def after_step(step: int, results: list[Any]) -> None:
        stage.after_step(step, results)
        began.append(time.perf_counter())  # the first step sets things up, and is left out
        taken = len(began) - 1
        if taken == min(WATCHED, steps - 1):
            rest = (steps - 1 - step) * (began[-1] - began[0]) / max(taken, 1)
            tell(f"{stage.name}: {steps} steps, about {duration(rest)} more at most")

    return stage._replace(after_step=after_step)


def duration(seconds: float) -> str:
    """A time in words: its largest unit that gives two or more, else seconds."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 1):.0f} seconds"


class Comparison(NamedTuple):
    """What the objective sees of a step: options of `tokenizer_step`.

    Attributes:
        objective_weight: The weight of the objective's loss.
        view_weight: The weight of rebuilding the view; 0 leaves it out.
        compared: Which inputs are compared: 0 is the series, 1 the first view and so on.
        quantized: Which of these are code vectors and which are latents.
        pool: From tokens to one vector; None compares token by token.
    """

    objective_weight: float
    view_weight: float
    compared: tuple[int, ...]
    quantized: tuple[bool, ...]
    pool: Pool | None

    @property
    def views(self) -> int:
        """Augmented views in a batch."""
        return max(self.compared)


def compare(config: TokenizerConfig, parts: Parts, views: int) -> Comparison:
    """What an objective of so many views compares: by default the series, then its views.

    Raises:
        ValueError: If `compared` or `quantized` are not as many as the objective wants views.

    Example:
        >>> from ssltok.pipelines import Parts, TokenizerConfig, compare
        >>> comparison = compare(TokenizerConfig(ssl="vicreg"), Parts(), 2)
        >>> comparison.compared, comparison.quantized
        ((0, 1), (True, False))
    """
    compared = tuple(range(views)) if parts.compared is None else tuple(parts.compared)
    quantized = (True, *[config.quantize_view] * (views - 1))
    if parts.quantized is not None:
        quantized = tuple(parts.quantized)
    if len(compared) != views or len(quantized) != views:
        raise ValueError(
            f"Parts: compared and quantized must be {views} each, as many views as the objective "
            f"wants; got {compared} and {quantized}"
        )
    pool: Any = parts.pool
    if pool is None:
        pool = "tokens" if reads_tokens(config, parts) else average_max_pool
    if isinstance(pool, str):
        if pool != "tokens":
            raise ValueError(f"Parts: pool must be a function or 'tokens'; got {pool!r}")
        pool = None
    return Comparison(config.ssl_weight, config.view_weight, compared, quantized, pool)


class TokenizerModel(nn.Module):
    """Stage 1 as one module, so that an engine can wrap it: `forward(batch)` is the step."""

    objective: Objective | None

    def __init__(
        self, tokenizer: Tokenizer, objective: Objective | None, comparison: Comparison
    ) -> None:
        super().__init__()
        self.tokenizer, self.objective, self.comparison = tokenizer, objective, comparison

    def forward(self, batch: TokenizerBatch) -> TokenizerOutput:
        """Run `tokenizer_step`."""
        options = self.comparison._asdict()
        return tokenizer_step(self.tokenizer, batch, objective=self.objective, **options)


def tokenizer_stage(
    model: TokenizerModel,
    scaled: SeriesSet | SourceSet,
    labels: Tensor,
    config: Config,
    *,
    seed: int,
    world: int,
    augment: Callable[..., Tensor] | None = None,
) -> tuple[Stage, TrainingConfig, int]:
    """Stage 1 as `train_stage` wants it.

    Args:
        model: The step.
        scaled: Series at the scale of the model.
        labels: int64 `(cases,)`, -1 for none.
        config: How long, and what follows a step.
        seed: The run's seed.
        world: Processes.
        augment: Makes the views; None takes the config's.

    Returns:
        The stage, its training with a batch that fits the data, and the steps.

    Example:
        >>> import torch
        >>> from ssltok.data import read_series
        >>> from ssltok.pipelines import Config, TokenizerConfig
        >>> from ssltok.pipelines import build_stage_one, shorten, tokenizer_stage
        >>> words = TokenizerConfig(dim=4, blocks=0, codebook_size=3, projector_dim=8)
        >>> config = Config(tokenizer=words)
        >>> model = build_stage_one(config, channels=1, length=32, batch=4, seed=0)
        >>> series = read_series(torch.randn(4, 1, 32, generator=torch.Generator().manual_seed(0)))
        >>> stage, training, steps = tokenizer_stage(
        ...     model, series, torch.full((4,), -1), shorten(config, steps=3), seed=0, world=1
        ... )
        >>> stage.name, training.batch, steps
        ('tokenizer', 4, 3)
    """
    training, steps, learned, held = hold_out(
        scaled.cases, config.tokenizer_training, seed=seed, world=world
    )
    tokenizer, objective = model.tokenizer, model.objective
    view = AUGMENTATIONS[config.tokenizer.augmentation] if augment is None else augment
    views = 0 if objective is None else model.comparison.views
    length = scaled.shape[2]
    ragged = bool((scaled.lengths < length).any())
    gaps = config.tokenizer.gaps
    shared = isinstance(scaled, SourceSet) and augment is None  # the caller's may mix series

    def observed(valid: Tensor, step: int) -> Tensor:
        cases, channels, length = valid.shape
        generator = keyed_generator(seed, "gaps", step)
        holes = gap_mask((cases, channels, length), ratio=gaps, valid=valid, generator=generator)
        return valid & ~holes

    def draw(step: int, rows: slice) -> TokenizerBatch:
        order: Any = {"seed": seed, "purpose": "tokenizer-order", "step": step}
        chosen = learned[ordered_batch(len(learned), training.batch, **order)]
        batch = take_rows(scaled, chosen, rows) if shared else scaled.take(chosen)
        # Drawn for the whole batch, then cut, so that it does not depend on the processes.
        within = torch.arange(batch.values.shape[-1]) < batch.lengths[:, None]
        drawn = [
            view(batch.values, valid=within, generator=generator)
            for generator in view_generators(seed, step, views)
        ]
        draws: tuple[Tensor, ...] = ()
        if objective is not None:
            draws = objective.draw(len(chosen), keyed_generator(seed, "objective", step))
        return TokenizerBatch(
            batch.values[rows],
            tuple(part[rows] for part in drawn),
            batch.valid[rows],
            batch.lengths[rows],
            ragged,
            labels[chosen][rows],
            tuple(part[rows] for part in draws),
            keyed_seed(seed, "objective-seed", step),
            observed(batch.valid, step)[rows] if gaps else None,
        )

    def after_step(step: int, results: list[TokenizerOutput]) -> None:
        for number, branch in enumerate(tokenizer.parts):
            latents = torch.cat([r.latents[number] for r in results])
            codes = torch.cat([r.codes[number] for r in results])
            branch.update(latents, codes)
            if config.tokenizer.revival_ratio:
                # All latents on the first process, as if there were one: same draws, same codes.
                latents, codes = gather(latents), gather(codes)
                mine = slice(None) if rank_and_world()[0] == 0 else slice(0)
                branch.revive(
                    latents[mine],
                    codes[mine],
                    share=config.tokenizer.revival_ratio,
                    generator=keyed_generator(seed, "revival", step, number),
                )
        if objective is not None:
            memory = zip(*(r.memory for r in results), strict=True)
            encoder = TokenFeatures(tokenizer, pool=model.comparison.pool)
            objective.update(encoder, tuple(torch.cat(parts) for parts in memory))

    def validate() -> float:
        device = next(tokenizer.parameters()).device
        losses = []
        for part in held.split(portion(len(held), length)):
            parts = [p.to(device) for p in scaled.take(part)[:3]]  # no offset
            batch = TokenizerBatch(parts[0], (), parts[1], parts[2], ragged)
            terms = tokenizer_step(tokenizer, batch).terms
            losses.append((terms.time + terms.spectrogram, len(part)))
        return mean_of(losses)

    check = validate if len(held) else None
    return Stage("tokenizer", model, draw, after_step, check), training, steps
