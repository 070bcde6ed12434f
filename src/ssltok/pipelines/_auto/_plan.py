"""The preset that reads the data first: rate, codes, sizes and steps, each with its reason."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssltok._shared.storage import to_json
from ssltok.data import SeriesSet, SourceSet
from ssltok.pipelines._auto._cost import Cost, count, seconds
from ssltok.pipelines._auto._rate import RatePoint, measure_rate, strides_for
from ssltok.pipelines._fit import build_stage_one
from ssltok.pipelines._stage_two._prior_stage import prior_stage
from ssltok.pipelines._stages import tokenizer_stage
from ssltok.pipelines._words._build import build_prior
from ssltok.pipelines._words._config import (
    AutoConfig,
    Config,
    DecodingConfig,
    PriorConfig,
    TokenizerConfig,
)
from ssltok.pipelines._words._parts import Parts
from ssltok.pipelines._words._values import config_to_dict, nested_parameters, replace_nested
from ssltok.signal import ChannelScaler
from ssltok.training import Stage, TrainingConfig, seeded

__all__ = ["Plan", "auto", "chosen_point", "plan_for", "write_plan"]

DEFAULTS = AutoConfig()
NOTHING: Mapping[str, Any] = {}
MOST_TOKENS = 128  # of a series: attention stays affordable, and fewer tokens generate better
MOST_CHANNELWISE = 24  # channels; beyond, a token is of all of them
FEW = 0.85  # explained below which a token gets a second code
BATCH = 32
MOST_READ = 1024  # series of a source that are read for the plan
EPOCHS = 500  # most passes over the training series in stage 2; more learns them by heart
EPOCHS_ONE = 200  # in stage 1, which starts as PCA and k-means and needs few
SHARE_ONE, SHARE_TWO = 0.2, 0.45  # of the time; the rest is reading, generation and evaluation
FEWEST_STEPS = 100
STRETCHES = 8  # of time in `transform`: chosen by probes on halves of training parts
GAPS = 0.5  # largest share of a series that is hidden, where training series miss values


class Plan(NamedTuple):
    """What `auto` chose, and why."""

    config: Config
    """Everything that training is told; it alone repeats the run."""
    reasons: tuple[str, ...]
    """A sentence for each choice."""
    curve: tuple[RatePoint, ...]
    """What tokens of several lengths explain, by k-means on held-out patches."""
    explained: float
    """The share of the variance that was asked for."""
    seconds: tuple[float, float]
    """Forecast of both stages on two cores."""
    rest: float = 0.0
    """Forecast of start, generation and evaluation, where they follow in one run."""


def auto(
    data: SeriesSet,
    *,
    minutes: float = DEFAULTS.minutes,
    explained: float = DEFAULTS.explained,
    given: Mapping[str, Any] = NOTHING,
    classes: int = 0,
    ordered: bool = False,
    cases: int | None = None,
) -> Plan:
    """Choose a config by reading the training series.

    Tokens are patches of the series, channel by channel, as long as k-means of held-out patches
    allows at the wanted share of the variance; the codec starts as PCA and k-means of them. Sizes
    and steps follow from counted operations and a table of rates, never from a clock.

    Args:
        data: The training series.
        minutes: What the whole run may take on two cores.
        explained: The share of the variance that tokens shall explain, in (0, 1).
        given: What is given and not chosen, by its path: `{"tokenizer__quantizer": "fsq"}`.
        classes: Labels that the prior will know; 0 for none.
        ordered: Whether the series lie in time, as windows of a long series do.
        cases: How many training series there are, where `data` are only some of them.

    Returns:
        The plan.

    Raises:
        ValueError: If an option is out of range, or there are fewer than 2 series.

    Example:
        >>> import torch
        >>> from ssltok.data import read_series
        >>> from ssltok.pipelines import auto
        >>> t = torch.linspace(0, 9, 64)
        >>> plan = auto(read_series(torch.sin(t * torch.linspace(1, 2, 20)[:, None])))
        >>> plan.config.tokenizer.coder
        'patch'
    """
    AutoConfig(minutes=minutes, explained=explained)  # which refuses what makes no sense
    if len(data.values) < 2:
        raise ValueError(f"auto: data must hold at least 2 series; got {len(data.values)}")
    scaler = ChannelScaler().fit(data.values, data.valid)
    scaled = data._replace(values=scaler(data.values).nan_to_num())
    channels, length = data.values.shape[1:]
    cases = len(data.values) if cases is None else cases
    channelwise = 1 < channels <= MOST_CHANNELWISE
    curve = measure_rate(
        scaled, strides=strides_for(length), ordered=ordered, channelwise=channelwise
    )
    point, reason = choose_rate(curve, explained)
    within = torch.arange(length) < data.lengths[:, None]
    gone = ~data.valid & within[:, None]
    gaps = GAPS if bool(gone.any()) else 0.0
    several = 1 if point.explained >= min(FEW, explained) else 2
    one = TokenizerConfig(
        coder="patch",
        channelwise=channelwise,
        widths=(-(-length // point.stride),),
        dim=64,
        blocks=1,
        codebook_size=point.codes,
        quantizer="ema" if several == 1 else "residual",
        codes_per_token=several,
        ssl="lejepa",
        ssl_weight=1.0,
        augmentation="warp",
        view_weight=0.0,
        projector_dim=256,
        gaps=gaps,
        fill=True,
        texture=True,
        stretches=STRETCHES,
    )
    batch = min(BATCH, cases)
    config = Config(
        tokenizer=one,
        prior=PriorConfig(dim=128, depth=2, heads=4, mlp_ratio=2.0),
        tokenizer_training=TrainingConfig(
            steps=1, batch=batch, learning_rate=2e-3, warmup_ratio=0.05
        ),
        prior_training=TrainingConfig(steps=1, batch=batch, learning_rate=2e-3, warmup_ratio=0.05),
        decoding=DecodingConfig(steps=10),
    )
    chosen, config = config, _with(config, given)
    costs = [seconds(c) for c in count_steps(config, scaled, classes=classes)]
    steps = [
        max(FEWEST_STEPS, min(int(60 * minutes * share / cost), epochs * cases // batch))
        for share, cost, epochs in zip(
            (SHARE_ONE, SHARE_TWO), costs, (EPOCHS_ONE, EPOCHS), strict=True
        )
    ]
    config = dataclasses.replace(
        config,
        tokenizer_training=dataclasses.replace(config.tokenizer_training, steps=steps[0]),
        prior_training=dataclasses.replace(config.prior_training, steps=steps[1]),
    )
    config = _with(config, given)
    steps = [config.tokenizer_training.steps, config.prior_training.steps]
    forecast = (steps[0] * costs[0], steps[1] * costs[1])
    free, final = (nested_parameters(c, prefix="") for c in (chosen, config))
    given_paths = [path for path, value in given.items() if free[path] != value]
    frames = one.widths[0]
    reasons = (
        f"tokens of {-(-length // frames)} samples"
        f"{', channel by channel' if channelwise else ''}: {reason}",
        f"{point.codes} codes: a power of two, at most 256, with at least 4 training patches each",
        *([f"2 codes a token: one explains {point.explained:.0%} only"] if several == 2 else []),
        *(
            [
                f"up to {gaps:.0%} of a series is hidden in training, so that partly observed "
                f"series can be read: {float(gone.sum() / within.sum() / channels):.1%} of the "
                "training values are missing"
            ]
            if gaps
            else []
        ),
        *(
            ["gaps are filled and new series get texture from what tokens leave out of training"]
            if config.tokenizer.fill and config.tokenizer.texture
            else []
        ),
        f"{steps[0]} and {steps[1]} steps: {minutes:g} minutes on two cores, at most {EPOCHS_ONE} "
        f"and {EPOCHS} passes over the {cases} training series; "
        f"some {sum(forecast):.0f} s of training",
        *(f"{path.replace('__', '.')} is {final[path]}, as given" for path in given_paths),
    )
    return Plan(config, reasons, tuple(curve), explained, forecast)


def plan_for(
    config: Config | AutoConfig,
    data: SeriesSet | SourceSet,
    *,
    classes: int,
    ordered: bool = False,
) -> tuple[Config, Plan | None]:
    """The config itself, or what `auto` makes of the data by an `AutoConfig`, with its plan."""
    if isinstance(config, Config):
        return config, None
    cases = len(data.lengths)
    if isinstance(data, SourceSet):
        step = max(1, cases // MOST_READ)
        data = data.take(torch.arange(0, cases, step)[:MOST_READ])
    plan = auto(
        data, minutes=config.minutes, explained=config.explained, given=config.given,
        classes=classes, ordered=ordered, cases=cases,
    )  # fmt: skip
    return plan.config, plan


def chosen_point(plan: Plan, length: int) -> int | None:
    """The point of the curve that the tokens are of; None where their number was given."""
    frames = [-(-length // point.stride) for point in plan.curve]
    widths = plan.config.tokenizer.widths
    return frames.index(widths[0]) if len(widths) == 1 and widths[0] in frames else None


def write_plan(plan: Plan, file: pathlib.Path) -> None:
    """What `auto` chose; its config alone repeats the run."""
    curve = [point._asdict() for point in plan.curve]
    chosen = {
        "config": config_to_dict(plan.config), "reasons": plan.reasons, "curve": curve,
        "seconds": {"stage one": plan.seconds[0], "stage two": plan.seconds[1], "rest": plan.rest},
    }  # fmt: skip
    file.write_bytes(to_json(chosen))


def _with(config: Config, given: Mapping[str, Any]) -> Config:
    return replace_nested(config, {f"preset__{k}": v for k, v in given.items()})


def choose_rate(curve: list[RatePoint], explained: float) -> tuple[RatePoint, str]:
    """The longest tokens that explain so much, and why these."""
    affordable = [p for p in curve if p.tokens <= MOST_TOKENS] or curve[-1:]
    enough = [p for p in affordable if p.explained >= explained]
    if enough:
        point = enough[-1]
        return point, (
            f"the longest whose k-means explains {explained:.0%} of held-out patches "
            f"({point.explained:.1%}, {point.tokens} tokens a series)"
        )
    point = max(affordable, key=lambda p: p.explained)
    return point, (
        f"no affordable length explains {explained:.0%}; {point.tokens} tokens a series explain "
        f"{point.explained:.1%}"
    )


def count_steps(config: Config, scaled: SeriesSet, *, classes: int) -> list[Cost]:
    """Count one step of each stage, on a model that is thrown away."""
    return [count(step) for step, _ in first_steps(config, scaled, classes=classes)]


def first_steps(
    config: Config, scaled: SeriesSet, *, classes: int
) -> list[tuple[Callable[[], Tensor], list[nn.Parameter]]]:
    """The first step of each stage as a function that gives its loss, and what it trains."""
    cases, channels, length = scaled.values.shape
    labels = torch.full((cases,), 0 if classes else -1)
    batch = config.tokenizer_training.batch
    model = build_stage_one(config, channels=channels, length=length, batch=batch, seed=0)
    stage, _, _ = tokenizer_stage(model, scaled, labels, config, seed=0, world=1)
    tokenizer = model.tokenizer
    with seeded(0):
        prior = build_prior(config.prior, tokenizer, classes=classes)
    valid = tokenizer.valid_tokens(scaled.lengths)
    codes = torch.zeros(valid.shape, dtype=torch.int64).masked_fill(~valid, -1)
    if tokenizer.codes_per_token > 1:
        codes = codes[..., None].repeat(1, 1, tokenizer.codes_per_token)
    second, _, _ = prior_stage(prior, codes, labels, config, seed=0, world=1, parts=Parts())
    return [
        (partial(_loss, stage, batch), list(model.parameters())),
        (partial(_loss, second, batch), list(prior.parameters())),
    ]


def _loss(stage: Stage, batch: int) -> Tensor:
    loss: Tensor = stage.model(stage.draw(0, slice(0, batch))).loss
    return loss
