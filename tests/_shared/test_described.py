"""A rule that a factory made remembers the factory and its arguments, and can be made again."""

import collections.abc
import importlib
import inspect
import pickle
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok import augment, decoding, masking
from ssltok._shared.described import MadeBy, described, description_of
from ssltok.decoding import DecodingState

CODES, TOKENS = 6, 12
PACKAGES = ("augment", "decoding", "masking")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(tokens: Tensor, where: Tensor) -> Tensor:
    return torch.randn(int(where.sum()), CODES, generator=seeded(int(tokens.sum())))


def conditional(tokens: Tensor, where: Tensor, condition: Tensor) -> Tensor:
    return condition[:, None].expand(-1, tokens.shape[1], -1)[where]


def critic(tokens: Tensor) -> Tensor:
    return (7.0 * tokens).sin()


def tokens_and_where() -> tuple[Tensor, Tensor]:
    tokens = torch.randint(CODES, (4, TOKENS), generator=seeded(1))
    return tokens, torch.rand(4, TOKENS, generator=seeded(2)) < 0.5


def of_state(rule: Callable[[DecodingState], Tensor]) -> Tensor:
    tokens, drawn = tokens_and_where()
    fixed = torch.rand(4, TOKENS, generator=seeded(3)) < 0.2
    state = DecodingState(
        tokens=tokens,
        logprob=-torch.rand(4, TOKENS, generator=seeded(4)),
        drawn=drawn & ~fixed,
        given=fixed,
        logits=torch.randn(int((drawn & ~fixed).sum()), CODES, generator=seeded(5)),
        progress=0.4,
        share_before=0.7,
        share_after=0.55,
        generator=seeded(6),
    )
    return rule(state)


def of_tokens(rule: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    return rule(*tokens_and_where())


def of_guidance(rule: decoding.Guidance) -> Tensor:
    return rule(lambda tokens, where: model(tokens + 1, where), *tokens_and_where(), 0.4)


def of_logits(rule: decoding.Sample) -> Tensor:
    drawn = rule(torch.randn(40, CODES, generator=seeded(7)), 0.4, seeded(8))
    return torch.cat([drawn.tokens, drawn.logprob])


def of_like(rule: masking.SpanLengths) -> Tensor:
    return rule(torch.zeros(40, dtype=torch.int64), seeded(9))


def of_series(rule: augment.Augmentation) -> Tensor:
    return rule(torch.randn(3, 2, 16, generator=seeded(10)), generator=seeded(11))


def of_settle(rule: decoding.Settle) -> Tensor:
    """What a rule settles, in a second step of one run."""
    last: list[DecodingState] = []

    def twice(state: DecodingState) -> Tensor:
        memory: dict[str, Tensor] = {}
        rule(state._replace(memory=memory, logits=state.logits * 1.01))
        last.append(rule(state._replace(memory=memory)))
        return last[-1].logprob

    of_state(twice)
    settled = last[0].drawn if last[0].settled is None else last[0].settled
    return torch.cat([settled.long(), last[0].tokens])


def of_number(rule: Callable[[float], float]) -> Tensor:
    return torch.tensor([rule(progress / 8) for progress in range(9)])


def streams(tokens: Tensor, where: Tensor, *, places: Tensor, allowed: Tensor) -> Tensor:
    read = (allowed[:, 1:] * (tokens + places)[:, None]).sum(dim=2).float()
    return torch.stack([read.sin() * k for k in range(1, CODES + 1)], dim=2)[where]


def of_progress(rule: Callable[[Tensor], Tensor]) -> Tensor:
    return rule(torch.linspace(0, 1, 9, dtype=torch.float64))


# How to call what a factory returns; a call of the factory with options that are not the
# defaults; and the arguments that the rule must remember.
Case = tuple[Callable[[Any], Tensor], tuple[Any, ...], Mapping[str, Any], Mapping[str, Any]]
H, SUPPORT = torch.randn(2, CODES, generator=seeded()), torch.tensor([[1, 0, 3]])
PLACES = torch.randperm(TOKENS, generator=seeded(1))
RANDOM, CAP = decoding.random_order(), decoding.cap_remask(eta=0.5)
SAMPLE = decoding.temperature_sample(temperature=0.5)


def worse(tokens: Tensor) -> Tensor:
    return tokens.flip(1)


VIEWS = (augment.flip, partial(augment.gaussian_noise, std=0.3))
CASES: dict[str, Case] = {
    "compose": (of_series, VIEWS, {}, {"augmentations": VIEWS}),
    "condition_on": (of_tokens, (conditional, H), {}, {"logits_fn": conditional, "condition": H}),
    "in_context": (
        of_tokens, (model,), {"support": SUPPORT}, {"logits_fn": model, "support": SUPPORT}
    ),
    "classifier_free_guidance": (
        of_guidance, (model,), {"scale": 2.5}, {"unconditional": model, "scale": 2.5}
    ),
    "confidence_order": (of_state, (), {"temperature": 1.5}, {"temperature": 1.5}),
    "random_order": (of_state, (), {}, {}),
    "fixed_order": (of_state, (PLACES,), {}, {"places": PLACES}),
    "entropy_order": (of_state, (), {}, {}),
    "margin_order": (of_state, (), {}, {}),
    "remask_order": (
        of_state, (RANDOM,), {"probability": CAP}, {"order": RANDOM, "probability": CAP}
    ),
    "cap_remask": (of_state, (), {"eta": 0.3}, {"eta": 0.3}),
    "rescale_remask": (of_state, (), {"eta": 0.3}, {"eta": 0.3}),
    "confidence_remask": (of_state, (CAP,), {}, {"probability": CAP}),
    "critic_order": (
        of_state, (critic,), {"temperature": 0.5}, {"critic": critic, "temperature": 0.5}
    ),
    "self_token_critic": (
        lambda rule: rule(tokens_and_where()[0]), (model,), {"mask_index": CODES, "stride": 3},
        {"logits_fn": model, "mask_index": CODES, "stride": 3, "groups": 1},
    ),
    "temperature_sample": (
        of_logits, (), {"temperature": 0.7, "top_p": 0.8},
        {"temperature": 0.7, "top_k": None, "top_p": 0.8},
    ),
    "entropy_bound": (of_settle, (0.7,), {"order": RANDOM}, {"bound": 0.7, "order": RANDOM}),
    "confidence_threshold": (of_settle, (0.6,), {}, {"threshold": 0.6}),
    "confidence_factor": (of_settle, (1.7,), {}, {"factor": 1.7}),
    "stable_prediction": (
        of_settle, (), {"divergence": 0.3, "threshold": 0.05, "steps": 1},
        {"divergence": 0.3, "threshold": 0.05, "steps": 1},
    ),
    "corrector": (
        of_settle, (model,), {"sample": SAMPLE, "rounds": 2},
        {"logits_fn": model, "sample": SAMPLE, "rounds": 2},
    ),
    "speculative": (
        of_settle, (model, PLACES), {"temperature": 0.7},
        {"logits_fn": model, "ranks": PLACES, "temperature": 0.7},
    ),
    "moment_order": (of_state, (), {"temperature": 1.5}, {"temperature": 1.5}),
    "moment_sample": (of_logits, (), {"temperature": 1.5}, {"temperature": 1.5}),
    "planning_order": (
        of_state, (), {"eta": 0.3, "planner": critic}, {"eta": 0.3, "planner": critic}
    ),
    "forward_backward_remask": (of_state, (), {}, {}),
    "self_guidance": (of_guidance, (worse,), {"scale": 2.5}, {"perturb": worse, "scale": 2.5}),
    "rising_scale": (of_number, (3.0,), {}, {"scale": 3.0}),
    "interval_scale": (
        of_number, (3.0,), {"start": 0.3, "stop": 0.6}, {"scale": 3.0, "start": 0.3, "stop": 0.6}
    ),
    "shadow_logits": (
        of_tokens, (streams,), {"mask_index": CODES}, {"model": streams, "mask_index": CODES}
    ),
    "ordered_logits": (
        of_tokens, (streams, PLACES), {"mask_index": CODES},
        {"model": streams, "ranks": PLACES, "mask_index": CODES},
    ),
    "resumed_schedule": (
        of_progress, (masking.square_schedule,), {"start": 0.3},
        {"schedule": masking.square_schedule, "start": 0.3},
    ),
    "fixed_spans": (of_like, (3,), {}, {"length": 3}),
    "uniform_spans": (of_like, (3,), {"high": 9}, {"low": 3, "high": 9}),
    "normal_spans": (of_like, (9.0, 3.0), {}, {"mean": 9.0, "deviation": 3.0}),
    "poisson_spans": (of_like, (4.5,), {}, {"mean": 4.5}),
}  # fmt: skip


def is_callable_type(hint: object) -> bool:
    """Whether an annotation promises a function: `Callable[...]`, or a Protocol of `__call__`."""
    if typing.get_origin(hint) is collections.abc.Callable:
        return True
    return inspect.isclass(hint) and "__call__" in vars(hint)


def factories() -> dict[str, Callable[..., Any]]:
    """Every public function of the packages that returns a function."""
    public = [
        (name, getattr(module, name))
        for module in (importlib.import_module(f"ssltok.{package}") for package in PACKAGES)
        for name in module.__all__
    ]
    return {
        name: thing
        for name, thing in public
        if inspect.isfunction(thing) and is_callable_type(typing.get_type_hints(thing)["return"])
    }


FACTORIES = factories()
every_factory = pytest.mark.parametrize("name", sorted(FACTORIES))


def test_every_factory_has_a_case() -> None:
    assert set(FACTORIES) == set(CASES)
    assert len(FACTORIES) > 20  # the search itself works


@every_factory
def test_a_rule_remembers_how_it_was_made(name: str) -> None:
    _, args, kwargs, arguments = CASES[name]
    made_by = FACTORIES[name](*args, **kwargs).made_by
    assert made_by[0] is FACTORIES[name]
    assert made_by[1].keys() == arguments.keys()
    assert all(made_by[1][key] is value or made_by[1][key] == value
               for key, value in arguments.items())  # fmt: skip


@every_factory
def test_a_rule_that_is_made_again_behaves_equally(name: str) -> None:
    call, args, kwargs, _ = CASES[name]
    rule = FACTORIES[name](*args, **kwargs)
    factory, arguments = rule.made_by
    again = rule.made_by.rebuild()
    assert again is not rule
    assert again.made_by == rule.made_by
    assert torch.equal(call(again), call(rule))
    if not any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(factory).parameters.values()):
        assert torch.equal(call(factory(**arguments)), call(rule))


@pytest.mark.parametrize(
    "name", [name for name, (_, args, kwargs, _) in CASES.items() if args or kwargs]
)
def test_the_arguments_decide(name: str) -> None:
    """The case's options have an effect, else that the rebuilt rule is equal would say little."""
    other: dict[str, Any] = {
        "compose": {"augmentations": (augment.flip,)},
        "condition_on": {"condition": -H},
        "in_context": {"support": SUPPORT + 1},
        "classifier_free_guidance": {"scale": 1.5},
        "fixed_order": {"places": PLACES.flip(0)},
        "remask_order": {"order": decoding.margin_order()},
        "confidence_remask": {"probability": decoding.cap_remask(eta=0.1)},
        "self_token_critic": {"stride": 2},
        "uniform_spans": {"high": 20},
        "entropy_bound": {"bound": 20.0},
        "stable_prediction": {"divergence": 0.0},
        "corrector": {"sample": decoding.temperature_sample(temperature=30.0)},
        "shadow_logits": {"model": lambda *args, **kwargs: -streams(*args, **kwargs)},
        "ordered_logits": {"ranks": PLACES.flip(0)},
    }
    call, args, kwargs, arguments = CASES[name]
    rule = FACTORIES[name](*args, **kwargs)
    numbers = {key: value / 2 for key, value in arguments.items() if isinstance(value, float)}
    if isinstance(arguments.get("length"), int):
        numbers = {"length": arguments["length"] + 1}
    changed = {**rule.made_by.arguments, **other.get(name, numbers)}
    assert not torch.equal(call(MadeBy(FACTORIES[name], changed).rebuild()), call(rule))


def test_a_description_is_its_own() -> None:
    """Two rules of one factory keep their arguments apart; changing one changes no other."""
    one, two = decoding.cap_remask(eta=0.1), decoding.cap_remask(eta=0.2)
    first, second = description_of(one), description_of(two)
    assert first is not None
    assert second is not None
    assert (first.arguments, second.arguments) == ({"eta": 0.1}, {"eta": 0.2})


def test_what_was_not_made_by_a_factory_says_nothing() -> None:
    assert description_of(model) is None
    assert description_of(3) is None
    rule = partial(model)
    rule.made_by = ("something", {})  # type: ignore[attr-defined]
    assert description_of(rule) is None


def test_a_view_crosses_into_another_process_with_its_description() -> None:
    view = pickle.loads(pickle.dumps(augment.compose(augment.flip, augment.shift)))
    assert view.made_by == (augment.compose, {"augmentations": (augment.flip, augment.shift)})


def test_the_factory_keeps_its_name_signature_and_complaints() -> None:
    def scale_by(factor: float, *parts: float, offset: float = 1.0) -> Callable[[float], float]:
        """Make a line."""
        return lambda x: factor * x + offset + sum(parts)

    wrapped = described(scale_by)
    assert wrapped.__name__ == "scale_by"
    assert wrapped.__doc__ == "Make a line."
    assert inspect.signature(wrapped) == inspect.signature(scale_by)
    rule = wrapped(2.0, 3.0, 4.0, offset=0.5)
    made_by = description_of(rule)
    assert made_by is not None
    assert made_by.factory is wrapped
    assert made_by.arguments == {"factor": 2.0, "parts": (3.0, 4.0), "offset": 0.5}
    assert made_by.rebuild()(10.0) == rule(10.0) == 27.5
    assert wrapped(2.0).made_by == (wrapped, {"factor": 2.0, "parts": (), "offset": 1.0})  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r"scale_by\(\) missing 1 required positional argument"):
        wrapped()  # type: ignore[call-arg]
