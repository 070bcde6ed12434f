"""Every optimizer of the package: draws no random number, waits for no value, keeps dtypes."""

import copy
import inspect
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ssltok.optim
from ssltok.optim import LARS

OPTIMIZERS = [
    getattr(ssltok.optim, name)
    for name in ssltok.optim.__all__
    if isinstance(getattr(ssltok.optim, name), type)
]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step(kind: type[LARS]) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    optimizer = kind(model.parameters(), lr=0.5, weight_decay=0.1)
    before = [p.detach().clone() for p in model.parameters()]
    model(torch.randn(5, 4)).square().sum().backward()
    state = torch.get_rng_state()
    optimizer.step()
    optimizer.step()
    assert torch.equal(state, torch.get_rng_state())
    for old, new in zip(before, model.parameters(), strict=True):
        assert new.dtype == old.dtype
        assert torch.isfinite(new).all()
        assert not torch.equal(old, new)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("clip", [False, True])
def test_no_value_is_read_on_the_host(kind: type[LARS], clip: bool) -> None:
    """Tensors of the meta device have no values: whoever asks for one gets an error."""
    params = [nn.Parameter(torch.ones(2, 3, device="meta")) for _ in range(3)]
    for p in params:
        p.grad = torch.ones_like(p)
    kind(params, lr=0.5, weight_decay=0.1, clip=clip).step()
    with pytest.raises(RuntimeError):
        bool(params[0].sum() > 0)


def never(parameter: Tensor) -> bool:
    return False


def always(parameter: Tensor) -> bool:
    return True


OPTIONS: dict[str, tuple[Any, Any]] = {  # two values of each option that a group may have
    "lr": (0.5, 0.2),
    "momentum": (0.9, 0.3),
    "weight_decay": (0.1, 0.4),
    "trust_coefficient": (0.01, 0.2),
    "joint_norm": (True, False),
    "clip": (False, True),
    "exclude": (always, never),
}


def weights(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(s, generator=generator)) for s in ((3, 4), (4,), (2, 2))]


def steps(optimizer: torch.optim.Optimizer, count: int, first: int = 0) -> list[Tensor]:
    """Steps along gradients that depend on the number of the step; the weights after them."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for step in range(first, first + count):
        generator = torch.Generator().manual_seed(100 + step)
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    return [p.detach().clone() for p in params]


def build(kind: type[LARS], seed: int = 0, place: int = 0, **others: Any) -> LARS:
    options = {name: values[place] for name, values in OPTIONS.items()} | others
    lr = options.pop("lr")
    return kind(weights(seed), lr, **options)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_options_are_all_here(kind: type[LARS]) -> None:
    assert set(inspect.signature(kind).parameters) == {"params", *OPTIONS}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@pytest.mark.parametrize("place", [0, 1])
def test_a_copy_goes_on_as_the_first(
    kind: type[LARS], copied: Callable[[Any], Any], place: int
) -> None:
    first = build(kind, place=place)
    steps(first, 2)
    second = copied(first)
    second.add_param_group({"params": [nn.Parameter(torch.ones(2, 2))]})
    first.add_param_group({"params": [nn.Parameter(torch.ones(2, 2))]})
    for one, other in zip(steps(first, 2, 2), steps(second, 2, 2), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("place", [0, 1])
def test_a_saved_state_goes_on_as_the_first(kind: type[LARS], place: int) -> None:
    """Through a file that holds no code; numbers come from the file, the function from here."""
    first = build(kind, place=place)
    steps(first, 2)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = build(kind, place=1 - place, exclude=OPTIONS["exclude"][place])
    for old, new in zip(
        first.param_groups[0]["params"], second.param_groups[0]["params"], strict=True
    ):
        new.data.copy_(old.data)
    second.load_state_dict(torch.load(file, weights_only=True))
    for one, other in zip(steps(first, 2, 2), steps(second, 2, 2), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("option", OPTIONS)
def test_a_groups_own_option_is_that_of_an_optimizer(kind: type[LARS], option: str) -> None:
    """Also after a copy, and after its state was saved and loaded."""
    usual, other = OPTIONS[option]
    alone, rest = build(kind, **{option: other}), build(kind, seed=1)

    def grouped() -> LARS:
        options = {name: values[0] for name, values in OPTIONS.items()}
        lr = options.pop("lr")
        groups: list[dict[str, Any]] = [
            {"params": weights(), option: other},
            {"params": weights(1)},
        ]
        return kind(groups, lr, **options)

    def run(optimizer: LARS, count: int, first: int) -> list[Tensor]:
        """Both groups along the gradients of optimizers of their own."""
        for group in optimizer.param_groups:
            for step in range(first, first + count):
                generator = torch.Generator().manual_seed(100 + step)
                for p in group["params"]:
                    p.grad = torch.randn(p.shape, generator=generator)
                for q in (q for g in optimizer.param_groups if g is not group for q in g["params"]):
                    q.grad = None
                optimizer.step()
        return [p.detach() for group in optimizer.param_groups for p in group["params"]]

    together = grouped()
    run(together, 2, 0)
    loaded = grouped()
    for p, q in zip(params_of(together), params_of(loaded), strict=True):
        q.data.copy_(p.data)
    loaded.load_state_dict(copy.deepcopy(together.state_dict()))  # torch shares the moments
    expected = steps(alone, 4) + steps(rest, 4)
    for optimizer in (copy.deepcopy(together), loaded, together):
        assert optimizer.param_groups[0][option] == other
        assert optimizer.param_groups[1][option] == usual
        for one, want in zip(run(optimizer, 2, 2), expected, strict=True):
            assert torch.equal(one, want)


def params_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_moments_of_another_optimizer_can_be_loaded(kind: type[LARS], momentum: float) -> None:
    """What the file does not name stays as it is here."""
    other = torch.optim.SGD(weights(), lr=0.3, momentum=momentum)
    steps(other, 2)
    optimizer = build(kind)
    optimizer.load_state_dict(copy.deepcopy(other.state_dict()))
    (group,) = optimizer.param_groups
    assert (group["lr"], group["momentum"], group["trust_coefficient"]) == (0.3, momentum, 0.01)
    assert group["exclude"] is always
    for p, q in zip(params_of(optimizer), params_of(other), strict=True):
        p.data.copy_(q.data)
    for p, q in zip(steps(optimizer, 2, 2), steps(other, 2, 2), strict=True):
        torch.testing.assert_close(p, q)  # all are excluded: plain momentum


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_other_states_are_refused_and_change_nothing(kind: type[LARS]) -> None:
    optimizer, twin = build(kind), build(kind)
    for one in (optimizer, twin):
        steps(one, 1)
    adam = torch.optim.AdamW(weights())
    steps(adam, 1)
    with pytest.raises(
        ValueError, match="must hold no state but momentum_buffer; got exp_avg, exp"
    ):
        optimizer.load_state_dict(adam.state_dict())
    saved = optimizer.state_dict()
    saved["state"][1] = {"momentum_buffer": torch.ones(3)}
    with pytest.raises(ValueError, match=r"of the parameters' shapes; got \(3,\) for \(4,\)$"):
        optimizer.load_state_dict(saved)
    for p, q in zip(steps(optimizer, 1, 1), steps(twin, 1, 1), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_numbers_of_a_group_are_checked(kind: type[LARS]) -> None:
    for option, value in (("lr", -1.0), ("momentum", 2.0), ("trust_coefficient", 0.0)):
        with pytest.raises(ValueError, match=f": {option} must "):
            kind([{"params": weights(), option: value}], lr=0.1)
    with pytest.raises(TypeError, match=r": weight_decay must be a number; got a tensor$"):
        kind(weights(), lr=0.1, weight_decay=torch.tensor(0.1))  # type: ignore[arg-type]
