"""The preset that reads the data first."""

import dataclasses

import pytest
import torch
from torch import Tensor

from ssltok.data import SeriesSet, read_series
from ssltok.pipelines import (
    AutoConfig,
    Config,
    SSLTokenizer,
    TokenizerConfig,
    auto,
    build_tokenizer,
    measure_rate,
)
from ssltok.pipelines._auto._cost import Cost, count, seconds
from ssltok.pipelines._auto._plan import choose_rate, chosen_point
from ssltok.pipelines._auto._rate import RatePoint, codes_for, strides_for
from ssltok.pipelines._auto._rest import Work, with_rest, work_of


def steps_of(length: int, width: int, cases: int = 40, *, seed: int = 0) -> Tensor:
    """Series that are constant over `width` samples, at one of three levels."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(3, (cases, 1, length // width), generator=generator) - 1.0
    return levels.repeat_interleave(width, dim=2)


def test_patches_that_repeat_are_explained_whole() -> None:
    points = measure_rate(read_series(steps_of(48, 4)), strides=(2, 4, 16))
    assert points[0].explained == pytest.approx(1.0, abs=1e-6)
    assert points[1].explained == pytest.approx(1.0, abs=1e-6)
    assert points[2].explained < 0.95  # 81 patterns, of which a codebook of 16 or so knows few
    assert [p.tokens for p in points] == [24, 12, 3]


def test_noise_is_not_explained_by_long_patches() -> None:
    noise = torch.randn(60, 1, 64, generator=torch.Generator().manual_seed(1))
    points = measure_rate(read_series(noise), strides=(1, 32))
    assert points[0].explained > 0.99
    assert points[1].explained < 0.1


def test_the_held_out_part_is_not_fitted() -> None:
    """In time order the last fifth is held out: here it is unlike all before it."""
    series = steps_of(32, 4, 50)
    series[40:] = torch.randn(10, 1, 32, generator=torch.Generator().manual_seed(2)) * 3
    data = read_series(series)
    ordered = measure_rate(data, strides=(8,), ordered=True)[0].explained
    mixed = measure_rate(data, strides=(8,))[0].explained
    assert ordered < mixed


def test_missing_values_and_padding_do_not_count() -> None:
    series = steps_of(48, 4)
    holes = series.clone()
    holes[:, :, 20:24] = torch.nan
    holes[3, :, 40:] = torch.nan
    points = measure_rate(read_series(holes), strides=(4,))
    assert points[0].explained == pytest.approx(1.0, abs=1e-6)


def test_channels_are_cut_each_or_together() -> None:
    two = torch.cat([steps_of(48, 4, seed=0), steps_of(48, 4, seed=5)], dim=1)
    each = measure_rate(read_series(two), strides=(4,))[0]
    together = measure_rate(read_series(two), strides=(4,), channelwise=False)[0]
    assert (each.tokens, together.tokens) == (24, 12)


@pytest.mark.parametrize(("patches", "codes"), [(10, 16), (127, 16), (128, 32), (500, 64),
                                                (1024, 256), (10**6, 256)])  # fmt: skip
def test_codes_have_patches_to_live_on(patches: int, codes: int) -> None:
    assert codes_for(patches) == codes


def test_strides_leave_some_tokens() -> None:
    assert strides_for(36) == [1, 2, 3, 4]
    assert strides_for(5) == [1]


def test_the_longest_affordable_tokens_are_taken() -> None:
    curve = [RatePoint(s, 256 // s, 256, e) for s, e in ((1, 1.0), (2, 0.97), (4, 0.93), (8, 0.8))]
    assert choose_rate(curve, 0.92)[0].stride == 4
    assert choose_rate(curve, 0.96)[0].stride == 2
    assert choose_rate(curve, 0.995)[0].stride == 2  # 256 tokens are not affordable
    assert "no affordable length" in choose_rate(curve, 0.995)[1]


def test_the_plan_follows_from_the_data_alone() -> None:
    data = read_series(steps_of(48, 4))
    assert auto(data) == auto(data)
    longer = auto(data, minutes=30.0).config
    for stage in ("tokenizer_training", "prior_training"):
        assert getattr(longer, stage).steps >= getattr(auto(data).config, stage).steps


def test_the_config_alone_repeats_the_run() -> None:
    series = steps_of(48, 4).numpy()
    config = auto(read_series(series)).config
    short = {
        name: dataclasses.replace(getattr(config, name), steps=3)
        for name in ("tokenizer_training", "prior_training")
    }
    config = dataclasses.replace(config, **short)
    assert isinstance(config, Config)
    first, second = (SSLTokenizer(config).fit(series).sample(3) for _ in range(2))
    assert (first == second).all()


def test_constant_channels_and_unlike_scales_are_planned() -> None:
    generator = torch.Generator().manual_seed(0)
    series = torch.randn(20, 3, 40, generator=generator).cumsum(2)
    series[:, 1] = 7.0
    series[:, 2] *= 1e6
    plan = auto(read_series(series))
    assert plan.config.tokenizer.channelwise
    assert all(0 <= point.explained <= 1 for point in plan.curve)


def test_the_sentences_say_what_is_built() -> None:
    """150 samples in 10 tokens are patches of 15, whichever stride was measured."""
    generator = torch.Generator().manual_seed(3)
    waves = torch.sin(torch.rand(60, 1, 1, generator=generator) * 6 + torch.arange(150) / 20)
    plan = auto(read_series(waves))
    built = build_tokenizer(plan.config.tokenizer, channels=1, length=150)
    assert plan.reasons[0].startswith(f"tokens of {built.parts[0].encoder.patch} samples:")
    assert f"{sum(plan.seconds):.0f} s of training" in plan.reasons[-1]


def test_what_is_given_is_not_chosen() -> None:
    data = read_series(steps_of(48, 4))
    given = {"tokenizer__quantizer": "fsq", "prior_training__steps": 7}
    plan = auto(data, given={**given, "workers": 0})
    config = plan.config
    assert plan.reasons[-2:] == ("tokenizer.quantizer is fsq, as given",
                                 "prior_training.steps is 7, as given")  # fmt: skip
    assert config.tokenizer.quantizer == "fsq"
    assert config.prior_training.steps == 7
    free = auto(data)
    assert config.tokenizer.widths == free.config.tokenizer.widths
    assert config.tokenizer.stretches == 8
    place = chosen_point(free, 48)
    assert place is not None
    assert free.curve[place].tokens == free.config.tokenizer.widths[0]
    assert chosen_point(auto(data, given={"tokenizer__widths": (5,)}), 48) is None


def test_fields_that_need_each_other_are_given_in_any_order() -> None:
    several = {"tokenizer__codes_per_token": 2, "tokenizer__quantizer": "residual"}
    for given in (several, dict(reversed(several.items()))):
        tokenizer = auto(read_series(steps_of(48, 4)), given=given).config.tokenizer
        assert (tokenizer.quantizer, tokenizer.codes_per_token) == ("residual", 2)
        model = SSLTokenizer().set_params(**{f"preset__{k}": v for k, v in given.items()})
        assert isinstance(model.preset, AutoConfig)
        assert model.preset.given == given


def test_the_estimator_reads_the_data_first_and_takes_numbers_beside() -> None:
    model = SSLTokenizer("auto", progress=False)
    model.set_params(
        preset__tokenizer_training__steps=2, preset__prior_training__steps=3, preset__minutes=0.1
    )
    series = steps_of(48, 4).numpy()
    model.fit(series)
    assert model.plan_.config == model.config_
    assert model.config_.tokenizer.coder == "patch"
    assert (model.config_.tokenizer_training.steps, model.config_.prior_training.steps) == (2, 3)
    with pytest.raises(ValueError, match="did you mean preset__tokenizer__dim"):
        SSLTokenizer("auto").set_params(preset__tokenizer__dims=2)
    model.set_params(preset=model.config_).fit(series)
    assert not hasattr(model, "plan_")


@pytest.mark.parametrize(("options", "rule"), [
    ({"minutes": 0.0}, "minutes"), ({"minutes": float("nan")}, "minutes"),
    ({"explained": 1.0}, "explained"), ({"explained": 0.0}, "explained"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(options: dict[str, float], rule: str) -> None:
    with pytest.raises(ValueError, match=f"AutoConfig: {rule}"):
        auto(read_series(steps_of(48, 4)), **options)  # type: ignore[arg-type]


def test_one_series_is_refused_and_two_or_constants_are_not() -> None:
    with pytest.raises(ValueError, match="auto: data must hold at least 2 series; got 1"):
        auto(read_series(steps_of(48, 4)[:1]))
    assert auto(read_series(steps_of(8, 4)[:2])).config.tokenizer.widths == (8,)
    assert auto(read_series(torch.full((3, 1, 20), 7.0))).curve[-1].explained == 1.0


def test_a_step_is_counted_and_not_timed() -> None:
    weight = torch.ones(5, 7, requires_grad=True)
    batch = torch.ones(3, 5)

    def step() -> Tensor:
        return (batch @ weight).relu().sum()

    cost = count(step)
    # Forward 2 * 3 * 5 * 7; backward once, for the weight alone.
    assert cost.flops == 2 * (2 * 3 * 5 * 7)
    assert (cost.calls, cost.values) == (3, 21 + 21 + 1)
    assert count(step) == cost


def test_seconds_grow_with_each_count() -> None:
    base = Cost(100, 1000, 10_000)
    for name in Cost._fields:
        more = base._replace(**{name: 2 * getattr(base, name)})
        assert seconds(more) > seconds(base)


def test_series_set_is_not_changed() -> None:
    data = read_series(steps_of(48, 4))
    before = SeriesSet(*(part.clone() for part in data))
    auto(data)
    assert all(torch.equal(a, b) for a, b in zip(before, data, strict=True))


def test_the_work_of_a_run_is_counted() -> None:
    """3 channels of 20 samples in 4 frames; 5 + 7 + 11 series; a band of 2 about the diagonal."""
    one = TokenizerConfig(
        coder="patch", quantizer="residual", channelwise=True, widths=(4,), dim=8, codes_per_token=2
    )
    sizes = {"train": 5, "test": 7, "generated": 11, "channels": 3, "length": 20}
    work = work_of(Config(tokenizer=one), classes=6, **sizes)
    assert work == Work(
        runs=1, series=23, tokens=23 * 12 * 2, warped=11 * 7 * 3 * 20 * 5,
        probed=5 * (12 * 8 + 60) * 6,
    )  # fmt: skip
    joint = dataclasses.replace(one, channelwise=False)
    work = work_of(Config(tokenizer=joint), classes=0, **sizes)
    assert (work.tokens, work.probed) == (23 * 4 * 2, 0)


def test_the_whole_run_is_foretold_and_says_what_it_leaves_out() -> None:
    plan = auto(read_series(steps_of(32, 4)), minutes=0.02)
    work = Work(runs=1, series=1000, tokens=10_000, warped=10**8, probed=10**6)
    whole = with_rest(plan, work, networks=False)
    assert whole.rest == pytest.approx(4.0 + 1.1 + 1.9 + 0.49 + 0.16)
    assert whole[:-1] == (plan.config, (*plan.reasons, whole.reasons[-1]), *plan[2:-1])
    total = sum(plan.seconds) + whole.rest
    assert whole.reasons[-1] == (
        f"some {total:.0f} s in all: {sum(plan.seconds):.0f} s of training, 8 s of start, "
        "generation and evaluation"
    )
    assert (
        with_rest(plan, work, networks=True).reasons[-1].endswith(", and the networks that judge")
    )
