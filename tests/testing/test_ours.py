"""The parts of this library keep the contracts that it asks of others'."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok import augment, losses, masking
from ssltok.nn import average_max_pool
from ssltok.pipelines import (
    PriorConfig,
    TokenFeatures,
    TokenizerConfig,
    build_objective,
    build_prior,
    build_tokenizer,
    random_masks,
)
from ssltok.quantizers import FSQ, GroupedQuantizer, ResidualQuantizer, VectorQuantizer
from ssltok.signal import STFTBands, Waveform
from ssltok.testing import (
    check_augmentation,
    check_coder,
    check_loss,
    check_mask,
    check_objective,
    check_prior,
    check_quantizer,
    check_transform,
)
from tests.augment.test_contract import CASES as AUGMENTATIONS
from tests.losses.test_contract import CASES as LOSSES
from tests.losses.test_contract import STOPPED, module_of
from tests.nn.test_coders import PAIRS

MASKS: dict[str, Callable[..., Tensor]] = {
    "random_masks": random_masks,
    "schedule_mask": partial(masking.schedule_mask, schedule=masking.linear_schedule),
    "span_mask": partial(masking.span_mask, ratio=0.4, length=3),
    "markov_mask": partial(masking.markov_mask, ratio=0.4, span=3),
    "impute_mask": partial(masking.impute_mask, ratio=0.4, span=2),
    "block_mask": partial(masking.block_mask, ratio=0.4, grid=(4, 6), least_area=3),
    "unit_mask": partial(masking.unit_mask, ratio=0.4, unit=(2, 2), grid=(4, 6)),
}
QUANTIZERS: dict[str, Callable[[], nn.Module]] = {
    "levels": lambda: ResidualQuantizer(
        [VectorQuantizer(4, 7, generator=seeded()), VectorQuantizer(4, 5, generator=seeded())],
        channel_dim=1,
    ),
    "groups": lambda: GroupedQuantizer([FSQ([5, 3]), FSQ([4, 4])]),
}
TRANSFORMS = {
    "one band": STFTBands(33, n_fft=8, hop=2),
    "two bands": STFTBands(40, n_fft=16, hop=4, edges=(2,)),
    "three bands, coarse": STFTBands(21, n_fft=4, hop=4, edges=(1, 2)),
    "waveform": Waveform(19),
}
PRIORS: dict[str, dict[str, Any]] = {
    "one branch": {},
    "two branches": {"widths": (3, 6)},
    "by channel": {"channelwise": True},
    "two codes a token": {"quantizer": "residual", "codes_per_token": 2},
    "in time": {"coder": "patch"},
}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in STOPPED])
def test_losses(name: str) -> None:
    case = LOSSES[name]
    function: Any = getattr(losses, name)
    if "generator" in inspect.signature(function).parameters:
        drawing = function

        def function(*inputs: Tensor) -> Tensor:
            value: Tensor = drawing(*inputs, generator=seeded())
            return value

    check_loss(function, case.draw(8, seeded()), targets=case.targets)
    if function.__name__ == name:
        check_loss(module_of(name)(**case.options), case.draw(6, seeded()), targets=case.targets)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_quantizers(name: str) -> None:
    """All of them are asked in `tests/quantizers/test_contract.py`."""
    check_quantizer(QUANTIZERS[name])


@pytest.mark.parametrize(("name", "size"), [(n, p.sizes[-1]) for n, p in PAIRS.items()])
def test_coders(name: str, size: int) -> None:
    check_coder(lambda: PAIRS[name].build(size), (*PAIRS[name].front, size))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("channels", [1, 3])
def test_transforms(name: str, channels: int) -> None:
    check_transform(TRANSFORMS[name], channels=channels)


@pytest.mark.parametrize("ssl", ["barlow_twins", "moco", "mae", "ts2vec"])
def test_objectives_of_a_tokenizer(ssl: Any) -> None:
    """All of them are asked in `tests/training/test_objectives_contract.py`."""
    config = TokenizerConfig(
        coder="transformer", widths=(4,), dim=4, blocks=1, codebook_size=5, projector_dim=8, ssl=ssl
    )
    torch.manual_seed(0)
    tokenizer = build_tokenizer(config, channels=2, length=24)
    pool = average_max_pool if ssl in ("barlow_twins", "moco") else None
    encoder = TokenFeatures(tokenizer, pool=pool)

    def build(encoder: nn.Module) -> nn.Module:
        objective: Any = build_objective(config, encoder, batch=8)  # type: ignore[arg-type]
        assert isinstance(objective, nn.Module)
        return objective

    check_objective(build, encoder, channels=2, length=24)


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("classes", [0, 3])
def test_priors(name: str, classes: int) -> None:
    config = TokenizerConfig(**{"dim": 4, "blocks": 0, "codebook_size": 6, **PRIORS[name]})
    torch.manual_seed(0)
    tokenizer = build_tokenizer(config, channels=2, length=24)
    sizes = PriorConfig(dim=8, depth=1, high_dim=8, high_depth=1)
    check_prior(lambda: build_prior(sizes, tokenizer, classes=classes))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations(name: str) -> None:
    augmentation = partial(getattr(augment, name), **AUGMENTATIONS[name][0])
    check_augmentation(augmentation, channels=3)


@pytest.mark.parametrize("name", MASKS)
def test_masks(name: str) -> None:
    check_mask(MASKS[name])


def test_every_check_is_tried() -> None:
    from ssltok import testing

    tried = {"losses", "quantizers", "coders", "transforms", "objectives_of_a_tokenizer", "priors",
             "augmentations", "masks"}  # fmt: skip
    assert len(testing.__all__) == len(tried)
    assert all(f"test_{name}" in globals() for name in tried)
