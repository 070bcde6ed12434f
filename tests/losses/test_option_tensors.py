"""A numeric option given as a tensor that asks for a gradient: the right one, or a refusal.

Asked of every option of every function in `ssltok.losses.__all__`, on both sides of each switch.
"""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok import losses
from ssltok._shared import sizes
from tests.losses.test_contract import CASES, call, draw, module_of

SWITCHES = [switch for switch in sizes.__all__ if switch != "BLOCKS"]
SIDES = {"small": 2**40, "large": 0}
LOGITS = torch.randn(4, 6, generator=torch.Generator().manual_seed(2)).double()
WEIGHT = torch.arange(4.0, dtype=torch.float64, requires_grad=True)
OPERATORS: dict[str, Callable[..., Tensor]] = {
    "center_and_sharpen": lambda **o: losses.center_and_sharpen(LOGITS, LOGITS[0], **o),
    "cholesky_whiten": lambda **o: losses.cholesky_whiten(LOGITS[:, :2], **o),
    "coding_rate": lambda **o: losses.coding_rate(LOGITS, **o),
    "gradient_ratio": lambda **o: losses.gradient_ratio(
        WEIGHT.square().sum(), WEIGHT.sum(), WEIGHT, **o
    ),
    "vf_terms": lambda **o: losses.vf_terms(LOGITS, LOGITS.flip(0), **o)[0],
    "emp_ssl_terms": lambda **o: losses.emp_ssl_terms(LOGITS, LOGITS.flip(0), **o)[0],
    "lejepa_terms": lambda **o: losses.lejepa_terms(LOGITS, LOGITS.flip(0), **o)[1],
    "lenepa_terms": lambda **o: losses.lenepa_terms(LOGITS[None], LOGITS[None], **o)[1],
    "simdino_terms": lambda **o: losses.simdino_terms(
        LOGITS.view(2, 2, 6), LOGITS.view(2, 2, 6), **o
    )[1],
    "tico_terms": lambda **o: losses.tico_terms(LOGITS, LOGITS.flip(0), **o)[1],
    "visreg_terms": lambda **o: losses.visreg_terms(LOGITS, LOGITS.flip(0), **o)[1],
    "multi_similarity_pairs": lambda **o: losses.multi_similarity_pairs(
        LOGITS, torch.tensor([0, 0, 1, 1]), **o
    ).positive.double(),
    "power_law_prior": lambda **o: losses.power_law_prior(5, **o).double(),
    "vicregl_terms": lambda **o: losses.vicregl_terms(
        LOGITS.view(2, 2, 6), LOGITS.view(2, 2, 6), LOGITS[:2, :2], LOGITS[:2, :2], **o
    )[1],
    "iterative_whiten": lambda **o: losses.iterative_whiten(LOGITS, **{"group_size": 2, **o}),
    "msn_terms": lambda **o: losses.msn_terms(LOGITS[None], LOGITS.softmax(-1), **o)[0],
    "pseudo_labels": lambda **o: losses.pseudo_labels(LOGITS, **o).weights,
    "sinkhorn": lambda **o: losses.sinkhorn(LOGITS, **o),
    "topk_layer_target": lambda **o: losses.topk_layer_target([LOGITS[None]] * 9, **o),
    "vibcreg_terms": lambda **o: losses.vibcreg_terms(LOGITS, LOGITS.flip(0), **o)[1],
    "vicreg_terms": lambda **o: losses.vicreg_terms(LOGITS, LOGITS.flip(0), **o)[1],
}
WIDE = {  # values at which each option counts, in float64
    "vicreg_loss": 0.4,
    "vicregl_loss": 0.4,
    "vibcreg_loss": 0.4,
}


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def numeric_options(name: str) -> list[str]:
    """Options whose default or case is a number."""
    case = CASES[name].options if name in CASES else {}
    parameters = inspect.signature(getattr(losses, name)).parameters.values()
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    return [p.name for p in keywords if is_number(case.get(p.name, p.default))]


EVERY = [
    (name, option)
    for name in losses.__all__
    if inspect.isfunction(getattr(losses, name))
    for option in numeric_options(name)
]


@pytest.fixture(params=SIDES, name="side")
def switches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for switch in SWITCHES:
        monkeypatch.setattr(sizes, switch, SIDES[request.param])
    side: str = request.param
    return side


def of_option(name: str, option: str) -> tuple[Callable[[Any], Tensor], Any]:
    """The function of one option at fixed inputs and other options, and a value of it."""
    if name not in CASES:
        default = inspect.signature(getattr(losses, name)).parameters[option].default
        return lambda value: OPERATORS[name](**{option: value}).square().sum(), default
    scale = WIDE.get(name, 1.0)
    inputs = [scale * x.double() if x.is_floating_point() else x for x in draw(name)]
    options = dict(CASES[name].options)
    value = options.pop(option)
    return lambda other: call(name, *inputs, **options, **{option: other}), value


def learned(value: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(float(value), dtype=dtype, requires_grad=True)


def test_every_function_with_a_number_is_asked() -> None:
    assert {name for name, _ in EVERY} <= set(CASES) | set(OPERATORS)


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize(("name", "option"), EVERY)
def test_a_tensor_has_its_gradient_or_is_refused(name: str, option: str) -> None:
    function, value = of_option(name, option)
    tensor = learned(value)
    try:
        result = function(tensor)
    except (TypeError, ValueError) as error:
        assert str(error).startswith(f"{name}: {option} must be ")  # noqa: PT017
        return
    torch.testing.assert_close(result.detach(), function(value).detach(), rtol=1e-10, atol=1e-12)
    (gradient,) = torch.autograd.grad(result, tensor, create_graph=True)
    step = 1e-5 * abs(value)
    with torch.no_grad():
        measured = (function(value + step) - function(value - step)) / (2 * step)
    torch.testing.assert_close(gradient.detach(), measured, rtol=1e-6, atol=1e-8)
    assert torch.autograd.gradgradcheck(function, learned(value))


TEMPERED = [(n, o) for n, o in EVERY if "temperature" in o and n != "center_and_sharpen"]


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize(("name", "option"), [pair for pair in TEMPERED if pair[0] in CASES])
def test_a_temperature_can_be_learned(name: str, option: str) -> None:
    """As CLIP's: a parameter of the module, in any precision, with the inputs' own gradients."""
    options = dict(CASES[name].options)
    value = options.pop(option)
    inputs = draw(name)
    module = module_of(name)(**options, **{option: nn.Parameter(torch.tensor(value))})
    assert [key for key, _ in module.named_parameters()] == [option]
    fixed = module_of(name)(**options, **{option: value})
    place = CASES[name].targets == (0,)
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    gradients = [torch.autograd.grad(loss(*leaves), leaves[place])[0] for loss in (module, fixed)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
    for dtype in (torch.float64, torch.bfloat16):
        number = learned(0.5, dtype)
        loss = call(name, *inputs, **options, **{option: number})
        assert loss.dtype == torch.float32
        assert loss.shape == ()
        loss.backward()
        assert number.grad is not None
        assert number.grad.dtype == dtype


@pytest.mark.parametrize(("name", "option"), [pair for pair in TEMPERED if pair[0] in CASES])
def test_only_one_number_can_be_learned(name: str, option: str) -> None:
    for wrong, fact in (
        (torch.ones(1), r"torch.float32 of shape \(1,\)"),
        (torch.tensor(1), r"torch.int64 of shape \(\)"),
    ):
        said = rf"^{name}: {option} must be a number or a floating-point tensor of shape \(\); got "
        with pytest.raises(ValueError, match=said + fact):
            call(name, *draw(name), **{option: wrong})
