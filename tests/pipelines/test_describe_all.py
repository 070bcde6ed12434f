"""The law of all public parts: described, written, built and loaded, a part is its equal."""

import copy
import importlib
import inspect
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from ssltok.pipelines import build_described, describe
from tests.nn.option_cases import OPTION_CASES
from tests.quantizers.test_contract import CASES as QUANTIZERS
from tests.quantizers.test_contract import OPTIONS as QUANTIZER_OPTIONS
from tests.signal.test_contract import CASES as SIGNAL
from tests.state.test_contract import OPTIONS as STATE
from tests.training.objective_cases import CASES as OBJECTIVES
from tests.training.objective_cases import built
from tests.training.test_objectives_contract import batch_of

BUILDERS: dict[str, Callable[[], nn.Module]] = {
    **{f"nn {n} {i}": case[0] for n, cases in OPTION_CASES.items() for i, case in enumerate(cases)},
    **{f"signal {name}": case[0] for name, case in SIGNAL.items()},
    **{f"quantizers {name}": build for name, build in QUANTIZER_OPTIONS.items()},
    **{f"quantizers case {name}": partial(build, 6) for name, build in QUANTIZERS.items()},
}
CALLS = {
    f"nn {n} {i}": case[1] for n, cases in OPTION_CASES.items() for i, case in enumerate(cases)
}
CALLS |= {f"signal {name}": case[1] for name, case in SIGNAL.items()}
TORCH: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm1d": lambda: nn.BatchNorm1d(3, eps=0.1, momentum=0.3, affine=False),
    "BatchNorm2d": lambda: nn.BatchNorm2d(3, eps=0.1, track_running_stats=False),
    "ELU": lambda: nn.ELU(alpha=0.5),
    "GELU": lambda: nn.GELU(approximate="tanh"),
    "GroupNorm": lambda: nn.GroupNorm(2, 4, eps=0.1, affine=False),
    "Identity": nn.Identity,
    "LayerNorm": lambda: nn.LayerNorm(3, eps=0.1, bias=False),
    "LayerNorm with a bias": lambda: nn.LayerNorm((3, 2), eps=0.1),
    "LeakyReLU": lambda: nn.LeakyReLU(0.3),
    "RMSNorm": lambda: nn.RMSNorm(3, eps=0.1, elementwise_affine=False),
    "ReLU": lambda: nn.ReLU(inplace=True),
    "SiLU": nn.SiLU,
    "Tanh": nn.Tanh,
}
BUILDERS |= {f"torch {name}": build for name, build in TORCH.items()}
PACKAGES = ("nn", "quantizers", "signal")


def modules_of(package: str) -> set[str]:
    house = importlib.import_module(f"ssltok.{package}")
    return {
        name for name in house.__all__
        if inspect.isclass(getattr(house, name)) and issubclass(getattr(house, name), nn.Module)
    }  # fmt: skip


def test_every_public_module_is_asked() -> None:
    asked = {name.split()[1] for name in BUILDERS}
    for package in PACKAGES:
        assert modules_of(package) <= asked, modules_of(package) - asked


def foreigners(node: Any) -> set[str]:
    """Where a description names what is not ours: options of these tests that are functions."""
    if isinstance(node, dict):
        if set(node) == {"foreign", "at"}:
            return {node["at"]}
        return set().union(*map(foreigners, node.values()))
    return set().union(*map(foreigners, node)) if isinstance(node, list) else set()


def at(part: Any, path: str) -> Any:
    for word in path.split("."):
        part = part[int(word)] if word.isdecimal() else getattr(part, word)
    return part


def through_a_file(part: nn.Module) -> Any:
    """A part as an artefact would bring it back, with the weights of the part."""
    text = json.dumps(describe(part), allow_nan=False)
    node = json.loads(text)
    torch.manual_seed(99)  # other first weights
    again = build_described(node, parts={path: at(part, path) for path in foreigners(node)})
    again.load_state_dict(copy.deepcopy(part.state_dict()))
    assert json.dumps(describe(again), allow_nan=False) == text
    return again.train(part.training)


@pytest.mark.parametrize("name", BUILDERS)
def test_described_built_and_loaded_it_is_the_same(name: str) -> None:
    torch.manual_seed(0)
    part = BUILDERS[name]()
    again = through_a_file(part)
    assert type(again) is type(part)
    for (key, value), (other, new) in zip(
        part.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert key == other
        assert torch.equal(value, new), key
    assert len(list(again.modules())) == len(list(part.modules()))  # what is shared stays shared
    if name in CALLS:
        outs = []
        for module in (part.eval(), again.eval()):
            torch.manual_seed(1)
            outs.append(CALLS[name](module))
        assert torch.equal(*outs)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_come_back_as_what_builds_them(name: str) -> None:
    encoder, objective = built(name)
    node = json.loads(json.dumps(describe(objective), allow_nan=False))
    builder = build_described(
        node,
        parts={path: at(objective, path.removeprefix("options.")) for path in foreigners(node)},
    )
    again = builder(encoder).double()
    assert type(again) is type(objective)
    again.load_state_dict(copy.deepcopy(objective.state_dict()))
    batch = batch_of(objective)
    assert torch.equal(copy.deepcopy(objective)(encoder, batch).loss, again(encoder, batch).loss)


@pytest.mark.parametrize("name", sorted(modules_of("losses")))
def test_loss_modules(name: str) -> None:
    kind = getattr(importlib.import_module("ssltok.losses"), name)
    again = through_a_file(kind())
    assert type(again) is kind


@pytest.mark.parametrize("name", sorted(STATE))
def test_state_modules(name: str) -> None:
    kind = getattr(importlib.import_module("ssltok.state"), name)
    part = kind(**STATE[name])
    if not any(isinstance(value, nn.Module) for value in STATE[name].values()):
        through_a_file(part)
