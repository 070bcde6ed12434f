"""What holds for every sampler of masks, whatever its pattern."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok import masking

BATCH, TOKENS = 6, 24
SHAPE = (BATCH, TOKENS)


def of(
    name: str, pick: Callable[..., Tensor] = lambda mask: mask, **options: object
) -> partial[Tensor]:
    def sampler(valid: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        return pick(getattr(masking, name)(SHAPE, valid=valid, generator=generator, **options))

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
    assert names - {"forecast_mask", "channel_mask"} == set(SAMPLERS)  # no draw; other shape


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_boolean_of_the_shape_and_at_least_one_masked(name: str) -> None:
    mask = SAMPLERS[name]()
    assert mask.dtype == torch.bool
    assert mask.shape == SHAPE
    assert mask.any(dim=1).all()


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_rows_differ_and_the_generator_alone_decides(name: str) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (
        SAMPLERS[name](generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({tuple(row) for row in first.tolist()}) > 1
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
