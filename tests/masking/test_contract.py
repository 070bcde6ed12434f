"""What holds for every sampler of masks, whatever its pattern."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok import masking

BATCH, TOKENS = 6, 24
SHAPE = (BATCH, TOKENS)


def of(
    name: str, pick: Callable[..., Tensor] = lambda mask: mask, **options: object
) -> partial[Tensor]:
    def sampler(
        valid: Tensor | None = None,
        generator: torch.Generator | None = None,
        device: str | None = None,
        *,
        whole: bool = False,
    ) -> Tensor:
        function = getattr(masking, name)
        found = function(SHAPE, valid=valid, generator=generator, device=device, **options)
        return found if whole else pick(found)

    return partial(sampler)


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "random_mask": of("random_mask", lambda found: found.mask, ratio=0.4),
    "schedule_mask": of("schedule_mask", schedule=masking.cosine_schedule),
    "span_mask": of("span_mask", ratio=0.4, length=3),
    "markov_mask": of("markov_mask", ratio=0.4, span=3),
    "impute_mask": of("impute_mask", ratio=0.4, span=2),
    "block_mask": of("block_mask", ratio=0.4, grid=(4, 6), least_area=3),
    "multiblock_mask": of("multiblock_mask", lambda found: found.hidden, grid=(4, 6)),
    "unit_mask": of("unit_mask", ratio=0.4, unit=(2, 2), grid=(4, 6)),
    "split_mask": of("split_mask", lambda found: found.mask_a),
}


def test_every_sampler_of_token_masks_is_here() -> None:
    names = {name for name in masking.__all__ if name.endswith("_mask")}
    assert names - {"forecast_mask", "channel_mask", "gap_mask"} == set(
        SAMPLERS
    )  # no draw; other shape


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_boolean_of_the_shape_and_at_least_one_masked(name: str) -> None:
    mask = SAMPLERS[name]()
    assert mask.dtype == torch.bool
    assert mask.shape == SHAPE
    assert mask.any(dim=1).all()


def of_rule(rule: masking.SpanLengths) -> Callable[..., Tensor]:
    """Span lengths, asked for as `span_mask` does."""
    return lambda generator: rule(torch.arange(TOKENS).expand(SHAPE), generator)


DRAWS: dict[str, Callable[..., Tensor]] = {
    **SAMPLERS,
    "channel_mask": partial(masking.channel_mask, (BATCH, 9, TOKENS), ratio=0.4),
    "gap_mask": partial(masking.gap_mask, (BATCH, 9, TOKENS), ratio=0.4),
    "bert_corrupt": partial(
        masking.bert_corrupt, torch.arange(BATCH * TOKENS).reshape(SHAPE) % 7,
        torch.ones(SHAPE, dtype=torch.bool), codebook_size=7, masked_ratio=0.5, random_ratio=0.3,
    ),
    "uniform_spans": of_rule(masking.uniform_spans(2, 9)),
    "normal_spans": of_rule(masking.normal_spans(5.0, 2.0)),
    "poisson_spans": of_rule(masking.poisson_spans(5.0)),
}  # fmt: skip
"""All that draws: the samplers, and what is no mask of tokens."""


def test_all_that_draws_is_here() -> None:
    draws = {
        name
        for name in masking.__all__
        if name[0].islower() and "generator" in inspect.signature(getattr(masking, name)).parameters
    }
    rules = {name for name in masking.__all__ if name.endswith("_spans")}
    assert draws | rules - {"fixed_spans"} == set(DRAWS)


@pytest.mark.parametrize("name", list(DRAWS))
def test_rows_differ_and_the_generator_alone_decides(name: str) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (
        DRAWS[name](generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({tuple(row) for row in first.flatten(1).tolist()}) > 1
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_padding_is_never_masked_and_a_lone_token_is(name: str) -> None:
    valid = torch.arange(TOKENS) < torch.tensor([[0], [1], [2], [7], [23], [24]])
    for seed in range(20):
        mask = SAMPLERS[name](valid=valid, generator=torch.Generator().manual_seed(seed))
        assert not (mask & ~valid).any()
        alone = valid.sum(dim=1) >= (2 if name == "multiblock_mask" else 1)
        assert torch.equal(mask.any(dim=1), alone)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_a_valid_mask_of_another_shape_is_refused(name: str) -> None:
    said = rf"^{name}: valid must have shape \(6, 24\); got \(6, 23\)$"
    with pytest.raises(ValueError, match=said):
        SAMPLERS[name](valid=torch.ones(6, 23, dtype=torch.bool))


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_it_runs_where_it_is_told(name: str) -> None:
    """On the meta device nothing has a value: a sampler that peeked at one would fail."""
    with torch.device("meta"):
        valid = torch.ones(SHAPE, dtype=torch.bool)
        assert SAMPLERS[name](valid=valid).device.type == "meta"


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_all_of_it_runs_on_the_device_asked_for(name: str) -> None:
    """Whatever device is the default, and wherever `valid` lies; every part of the result."""
    valid = torch.ones(SHAPE, dtype=torch.bool)

    def devices(default: str = "cpu", **where: Any) -> set[str]:
        with torch.device(default):
            result: Any = SAMPLERS[name](whole=True, **where)
        return {part.device.type for part in (result if isinstance(result, tuple) else (result,))}

    assert devices(device="meta") == {"meta"}
    assert devices(valid=valid, device="meta") == {"meta"}
    assert devices(valid=valid.to("meta")) == {"meta"}
    assert devices("meta", device="cpu") == {"cpu"}


def test_what_draws_no_tokens_runs_on_the_device_asked_for() -> None:
    shape = (2, 3, TOKENS)
    for device, default in (("meta", "cpu"), ("cpu", "meta")):
        with torch.device(default):
            channels = masking.channel_mask(shape, ratio=0.4, device=device)
            future = masking.forecast_mask(SHAPE, horizon=2, grid=(4, 6), device=device)
        assert channels.device.type == future.device.type == device
