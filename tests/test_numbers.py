"""What is no number where a number is asked, such as a text or a function: one clear word.

Asked of the numeric options of every loss, mask and public module, and of every other public
function and class that can be called with numbers alone.
"""

import functools
import importlib
import inspect
import typing
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from ssltok import masking
from ssltok.pipelines import describe
from tests.losses.test_option_tensors import EVERY, is_number, of_option
from tests.masking.test_contract import SHAPE
from tests.pipelines.test_describe_all import BUILDERS

NONSENSE: tuple[Any, ...] = ("0.5", [1], abs)
TORCH = {"ValidBatchNorm1d", "ValidBatchNorm2d"}  # their options are read by torch's own class
MODULES = {
    name: build for name, build in BUILDERS.items()
    if not name.startswith("torch") and " case " not in name and not set(name.split()) & TORCH
}  # fmt: skip
SAMPLERS: dict[str, dict[str, Any]] = {
    "random_mask": {"ratio": 0.4},
    "span_mask": {"ratio": 0.4, "length": 3},
    "markov_mask": {"ratio": 0.4, "span": 3},
    "impute_mask": {"ratio": 0.4, "span": 2},
    "block_mask": {"ratio": 0.4, "grid": (4, 6), "least_area": 3},
    "multiblock_mask": {"grid": (4, 6), "targets": 2},
    "unit_mask": {"ratio": 0.4, "unit": (2, 2), "grid": (4, 6)},
}
PACKAGES = ("augment", "decoding", "masking", "metrics", "nn", "optim", "quantizers", "signal")


def assert_refused(function: Callable[..., object], option: str, **options: Any) -> None:
    """Ask for `who: option must be ...; got ...` for each piece of nonsense."""
    for value in NONSENSE:
        with pytest.raises((TypeError, ValueError), match=rf"^\w+: .*{option}\b.*; got"):
            function(**{**options, option: value})


@pytest.mark.parametrize(("name", "option"), EVERY)
def test_losses(name: str, option: str) -> None:
    function, _ = of_option(name, option)
    assert_refused(lambda **options: function(options[option]), option)


@pytest.mark.parametrize("name", SAMPLERS)
def test_masks(name: str) -> None:
    options = SAMPLERS[name]
    sampler = functools.partial(getattr(masking, name), SHAPE)
    for option in filter(lambda key: is_number(options[key]), options):
        assert_refused(sampler, option, **options)


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    part = MODULES[name]()
    written = describe(part)["options"]
    options = {
        key: getattr(part, key) if isinstance(value, dict | list) else value
        for key, value in written.items()
    }
    for option in filter(lambda key: is_number(options[key]), options):
        assert_refused(type(part), option, **options)


def of_numbers_alone() -> dict[str, tuple[Callable[..., object], list[str], list[str]]]:
    """Find what can be called with numbers alone: the function, numbers, and which are required."""
    result = {}
    for package in PACKAGES:
        house = importlib.import_module(f"ssltok.{package}")
        for name in house.__all__:
            function = getattr(house, name)
            if inspect.isclass(function):
                if issubclass(function, nn.Module):
                    continue
                hints = typing.get_type_hints(function.__init__)
            elif inspect.isfunction(function):
                hints = typing.get_type_hints(function)
            else:
                continue
            parameters = inspect.signature(function).parameters.values()
            numbers = [p.name for p in parameters if hints.get(p.name) in (int, float)]
            required = [p.name for p in parameters if p.default is p.empty]
            if numbers and set(required) <= set(numbers):
                result[f"{package} {name}"] = (function, numbers, required)
    return result


ALONE = of_numbers_alone()


def test_rules_of_numbers_are_asked() -> None:
    assert {"masking uniform_spans", "decoding remask_loop", "optim warmup_cosine_schedule"} <= set(
        ALONE
    )


@pytest.mark.parametrize("name", ALONE)
def test_rules(name: str) -> None:
    function, numbers, required = ALONE[name]
    base = dict.fromkeys(required, 8)
    for option in numbers:
        assert_refused(function, option, **base)
