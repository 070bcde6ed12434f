"""Each recipe of `examples/ssl` trains its encoder for a few steps, and its loss is a number."""

import importlib
import pathlib
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

FOLDER = pathlib.Path(__file__).parents[1] / "examples" / "ssl"
SUPPORT = {
    "conditioning", "data", "dense", "encoders", "evaluate", "loop", "prior", "recipe", "views",
}  # fmt: skip
FAMILIES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SUPPORT)


def module_of(name: str) -> ModuleType:
    """Import a script of `examples/ssl` as its neighbours do, and leave no trace of the path."""
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))


CASES = [(family, name) for family in FAMILIES for name in module_of(family).METHODS]


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

    before = {k: v.clone() for k, v in recipe.encoder.named_parameters()}
    module_of("loop").train(recipe._replace(loss_of=loss_of), data, 2)
    assert len(losses) == 2
    assert all(torch.tensor(losses).isfinite())
    still = {
        k for k, v in recipe.encoder.named_parameters() if v.grad is None or v.equal(before[k])
    }
    assert still <= {"vit.mask_token"}, "every weight but an unused mask token moves"
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
