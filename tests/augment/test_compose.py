"""Composition, and the published sets."""

import inspect
import pathlib
import pickle
import re
from functools import partial
from typing import Any

import pytest
import torch

from ssltok import augment
from ssltok.augment import (
    NC_VQVAE_GAUSS,
    NC_VQVAE_SLICE,
    NC_VQVAE_WARP,
    Augmentation,
    amplitude_resize,
    compose,
    gaussian_noise,
    slice_and_shuffle,
    window_warp,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("composed", "parts"),
    [
        (NC_VQVAE_WARP, [window_warp, amplitude_resize]),
        (NC_VQVAE_SLICE, [slice_and_shuffle]),
        (NC_VQVAE_GAUSS, [gaussian_noise]),
        (compose(partial(gaussian_noise, std=2.0), slice_and_shuffle, window_warp),
         [partial(gaussian_noise, std=2.0), slice_and_shuffle, window_warp]),
    ],
)  # fmt: skip
def test_oracle_one_after_the_other(composed: Augmentation, parts: list[Augmentation]) -> None:
    series = torch.randn(4, 2, 20, generator=seeded(0))
    valid = torch.arange(20) < torch.tensor([[20], [7], [3], [19]])
    generator = seeded(1)
    expected = series
    for part in parts:
        expected = part(expected, valid=valid, generator=generator)
    assert torch.equal(composed(series, valid=valid, generator=seeded(1)), expected)


def test_compositions_nest_and_cross_process_borders() -> None:
    series = torch.randn(4, 2, 20, generator=seeded(0))
    nested = compose(NC_VQVAE_WARP, gaussian_noise)
    flat = compose(window_warp, amplitude_resize, gaussian_noise)
    expected = flat(series, generator=seeded(1))
    assert torch.equal(nested(series, generator=seeded(1)), expected)
    sent: Augmentation = pickle.loads(pickle.dumps(nested))
    assert torch.equal(sent(series, generator=seeded(1)), expected)


def test_complaints() -> None:
    with pytest.raises(ValueError, match="compose: augmentations must be one or more; got none"):
        compose()
    thing: Any = 0.5
    with pytest.raises(TypeError, match="compose: augmentations must be functions; got float"):
        compose(gaussian_noise, thing)


@pytest.mark.parametrize("name", ["NC_VQVAE_WARP", "NC_VQVAE_SLICE", "NC_VQVAE_GAUSS"])
def test_values_and_origin_of_a_set_are_documented(name: str) -> None:
    """What the page and the docstring say is what the set does: the defaults of its views."""
    source = pathlib.Path(inspect.getsourcefile(inspect.unwrap(compose)) or "").read_text()
    words = re.search(rf'^{name}: [^\n]*\n"""(.*?)"""', source, re.MULTILINE | re.DOTALL)
    page = pathlib.Path(__file__).parents[2] / "docs/pages/api/augment.md"
    row = re.search(rf"^\| `{name}` \|(.*)\|$", page.read_text(), re.MULTILINE)
    assert words is not None
    assert row is not None
    assert "<https://arxiv.org/abs/2408.16613>" in words[1]
    views = getattr(augment, name).made_by.arguments["augmentations"]
    for view in views:
        values = inspect.signature(view).parameters.values()
        defaults = [p.default for p in values if p.name not in ("series", "valid", "generator")]
        for text in (words[1], row[1]):
            assert f"`{view.__name__}`" in text
            for value in defaults:
                for number in value if isinstance(value, tuple) else (value,):
                    assert re.search(rf"\b{re.escape(str(number))}\b", text), (view, number)
