"""Each recipe of `examples/ssl` trains its encoder for a few steps, and its loss is a number."""

import importlib
import pathlib
import sys
from types import FunctionType, ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from ssltok.state import EMATeacher, FeatureQueue, Prototypes, RunningCenter

FOLDER = pathlib.Path(__file__).parents[1] / "examples" / "ssl"
SUPPORT = {
    "conditioning", "data", "dense", "encoders", "evaluate", "loop", "prior", "recipe", "views",
}  # fmt: skip
# Recipes that hide patches behind the mask token; no other recipe may leave a weight where it is.
MASK_TOKEN = {"beit", "best_rq", "data2vec", "dinov2", "ibot", "maskfeat", "simmim"}
STATES = (EMATeacher, FeatureQueue, Prototypes, RunningCenter)
FAMILIES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SUPPORT)


def module_of(name: str) -> ModuleType:
    """Import a script of `examples/ssl` as its neighbours do, and leave no trace of the path."""
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))


CASES = [(family, name) for family in FAMILIES for name in module_of(family).METHODS]


def test_recipes_with_a_mask_token_are_recipes() -> None:
    assert {name for _, name in CASES} >= MASK_TOKEN


def states_of(thing: object) -> set[nn.Module]:
    """Find the teachers, queues, centres and prototypes that a function reads, by its closure."""
    if isinstance(thing, STATES):
        return {thing}
    inside: list[object] = []
    if isinstance(thing, FunctionType):
        inside = [cell.cell_contents for cell in thing.__closure__ or ()]
    elif isinstance(thing, nn.Module):
        inside = list(thing.children())
    elif isinstance(thing, (tuple, list)):
        inside = list(thing)
    return {state for part in inside for state in states_of(part)}


def tensors_of(states: set[nn.Module]) -> dict[nn.Module, list[torch.Tensor]]:
    return {state: [t.clone() for t in state.state_dict().values()] for state in states}


@pytest.fixture(scope="module")
def data() -> Any:
    made = module_of("data").generated(train=40, test=20, length=64)
    return made._replace(train=made.train.repeat(1, 2, 1), test=made.test.repeat(1, 2, 1))


@pytest.mark.parametrize(("family", "name"), CASES)
def test_a_recipe_trains_its_encoder(
    family: str, name: str, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_of("distillation"), "TEACHER_STEPS", 30)
    torch.manual_seed(0)
    recipe = module_of(family).METHODS[name](data)
    losses: list[float] = []

    def loss_of(batch: Any, step: int) -> torch.Tensor:
        loss: torch.Tensor = recipe.loss_of(batch, step)
        assert loss.shape == ()
        losses.append(float(loss.detach()))
        return loss

    states = states_of(recipe.loss_of) | states_of(recipe.after_step)
    asleep = recipe.after_step is module_of("recipe").keep_still
    assert asleep == (not states), "what has a state has a step of its own"

    def after_step(step: int) -> None:
        old = tensors_of(states)
        recipe.after_step(step)
        for state, new in tensors_of(states).items():
            moved = [not a.equal(b) for a, b in zip(old[state], new, strict=True)]
            assert any(moved), f"{type(state).__name__} must move after a step"

    before = {k: v.clone() for k, v in recipe.encoder.named_parameters()}
    watched = recipe._replace(loss_of=loss_of, after_step=after_step)
    module_of("loop").train(watched, data, 2)
    assert len(losses) == 2
    assert all(torch.tensor(losses).isfinite())
    still = {
        k for k, v in recipe.encoder.named_parameters() if v.grad is None or v.equal(before[k])
    }
    unused = set() if name in MASK_TOKEN else {"vit.mask_vector"} & before.keys()
    assert still == unused, "every weight but an unused mask token moves"
    assert recipe.encoder.eval()(data.test).shape == (20, 64)


def test_views_differ_from_the_series_and_from_each_other(data: Any) -> None:
    view = module_of("views").view
    a, b = view(data.train), view(data.train)
    assert a.shape == data.train.shape
    assert not torch.allclose(a, b)


def test_the_generated_set_holds_its_classes_in_equal_parts() -> None:
    load = module_of("data").load
    data = load("generated")
    assert torch.equal(data.train_labels.bincount(), torch.full((4,), 50))
    assert torch.allclose(data.train.mean(), torch.tensor(0.0), atol=1e-5)
    again, held = load("generated"), load("generated", split_seed=3)
    assert torch.equal(data.train, again.train)
    assert torch.equal(held.train_labels.bincount(), held.test_labels.bincount())
    assert len(held.train) + len(held.test) == len(data.train)
    other = load("generated", split_seed=4)
    assert not torch.equal(held.train, other.train), "another split"


def test_the_loop_is_read_in_one_sitting() -> None:
    assert (FOLDER / "loop.py").read_text().count("\n") <= 60
    for path in FOLDER.glob("*.py"):
        assert path.read_text().count("\n") <= 100, path
