"""Second derivatives, `torch.func` and vectorised Jacobians of every quantizer and estimator.

Values of quantizers are steps, so their derivatives are those of what stands in for them: the
first must be that of the eager backward pass, the second that of finite differences of the first.
"""

import copy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vmap

from ssltok.quantizers import (
    BSQ,
    FSQ,
    LFQ,
    SimVQ,
    VectorQuantizer,
    codebook_entropy_loss,
    commitment_loss,
    orthogonality_loss,
    rotation_trick,
    straight_through,
)
from tests.quantizers.test_contract import CASES, RANDOM, build, seeded
from tests.quantizers.test_fast_forms import CASES as FORMS
from tests.quantizers.test_fast_forms import PAIRS, Case

# torch itself warns when its forward derivatives are first used
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
names = pytest.mark.parametrize("name", CASES)


def doubled(name: str) -> Any:
    """In training mode, with its regularizer, unless that would draw."""
    quantizer = build(name).double().train(name not in RANDOM)
    for part in quantizer.modules():
        if getattr(part, "generator", None) is not None:
            part.generator = None
    return quantizer


def data(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64).exp() - 0.7


def scalar(quantizer: Any, latents: Tensor, valid: Tensor | None = None) -> Any:
    vectors, _, loss = quantizer(latents, valid)
    wave = torch.arange(1, vectors.numel() + 1).reshape(vectors.shape).sin()
    return (vectors * wave).sum() + 3 * loss


def eager(quantizer: nn.Module, latents: Tensor, valid: Tensor | None = None) -> Tensor:
    leaf = latents.clone().requires_grad_()
    value = scalar(quantizer, leaf, valid)
    if not value.requires_grad:
        return torch.zeros_like(latents)
    return torch.autograd.grad(value, leaf, allow_unused=True, materialize_grads=True)[0]


def named(quantizer: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach() for key, value in quantizer.named_parameters()}


@names
@pytest.mark.parametrize("masked", [False, True])
def test_second_derivatives_are_those_of_finite_differences(name: str, masked: bool) -> None:
    """Of the loss, in the latents and in each parameter; what is stopped has none across."""
    quantizer, latents = doubled(name), data(7, build(name).dim)
    valid = torch.arange(7) % 3 > 0 if masked else None

    def by_latents(x: Tensor) -> Tensor:
        return cast("Tensor", quantizer(x, valid).loss + 0 * x.sum())

    assert torch.autograd.gradgradcheck(by_latents, latents.requires_grad_(), fast_mode=True)
    for key, value in named(quantizer).items():

        def by_weight(w: Tensor, key: str = key) -> Tensor:
            found = functional_call(quantizer, {key: w}, (latents.detach(), valid))
            return cast("Tensor", found.loss + 0 * w.sum())

        weight = value.clone().requires_grad_()
        assert torch.autograd.gradgradcheck(by_weight, weight, fast_mode=True), key


@pytest.mark.parametrize("name", ["FSQ", "BSQ", "LFQ"])
def test_second_derivatives_of_vectors(name: str) -> None:
    """Steps with the slope of a bound: it has a slope itself. `BSQ`'s is that of the sphere."""
    quantizer = doubled(name)
    latents = data(5, quantizer.dim).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: quantizer(x).vectors, latents)


@names
@pytest.mark.parametrize("masked", [False, True])
def test_func_is_the_eager_pass(name: str, masked: bool) -> None:
    quantizer = doubled(name)
    latents = data(9, quantizer.dim)
    valid = torch.arange(9) % 3 > 0 if masked else None
    expected = eager(quantizer, latents, valid)
    torch.testing.assert_close(grad(lambda x: scalar(quantizer, x, valid))(latents), expected)
    tangent = data(9, quantizer.dim, seed=2)
    value, slope = jvp(lambda x: scalar(quantizer, x, valid), (latents,), (tangent,))[:2]
    torch.testing.assert_close(value, scalar(quantizer, latents, valid))
    torch.testing.assert_close(slope, (expected * tangent).sum())


@names
def test_func_over_parameters(name: str) -> None:
    """Forward and backward, the latents fixed."""
    quantizer, latents = doubled(name), data(9, build(name).dim)
    weights = named(quantizer)

    def of(values: dict[str, Tensor]) -> Any:
        vectors, _, loss = functional_call(quantizer, values, (latents,), tie_weights=True)
        wave = torch.arange(1, vectors.numel() + 1).reshape(vectors.shape).sin()
        return (vectors * wave).sum() + 3 * loss

    quantizer.zero_grad()
    value = scalar(quantizer, latents)
    if not weights or not value.requires_grad:
        return
    value.backward()
    slopes = grad(of)(weights)
    tangents = {key: data(*v.shape, seed=3) for key, v in weights.items()}
    expected = torch.zeros((), dtype=torch.float64)
    for key, parameter in quantizer.named_parameters():
        wanted = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(slopes[key], wanted)
        expected = expected + (wanted * tangents[key]).sum()
    torch.testing.assert_close(jvp(of, (weights,), (tangents,))[1], expected)


@names
@pytest.mark.parametrize("masked", [False, True])
def test_mapped_it_is_one_after_the_other(name: str, masked: bool) -> None:
    quantizer = doubled(name)
    several = data(3, 8, quantizer.dim)
    valid = torch.rand(3, 8, generator=seeded(4)) < 0.7
    places = (0, 0) if masked else (0,)
    inputs = (several, valid) if masked else (several,)
    got = vmap(quantizer, in_dims=places)(*inputs)
    slopes = vmap(grad(lambda *x: scalar(quantizer, *x)), in_dims=places)(*inputs)
    codes = vmap(quantizer.encode, in_dims=places)(*inputs)
    decoded = vmap(quantizer.decode)(got.codes)
    for i in range(3):
        own = [entry[i] for entry in inputs]
        expected = quantizer(*own)
        assert torch.equal(got.codes[i], expected.codes)
        torch.testing.assert_close(got.vectors[i], expected.vectors)
        torch.testing.assert_close(got.loss[i], expected.loss)
        torch.testing.assert_close(slopes[i], eager(quantizer, *own))
        assert torch.equal(codes[i], quantizer.encode(*own))
        torch.testing.assert_close(decoded[i], quantizer.decode(expected.codes))


@names
def test_jacobians_forward_backward_and_vectorised(name: str) -> None:
    quantizer = doubled(name)
    latents = data(4, quantizer.dim)

    def both(x: Tensor) -> Tensor:
        vectors, _, loss = quantizer(x)
        return torch.cat([vectors.flatten() + 0 * x.sum(), loss[None]])

    backward = jacrev(both)(latents)
    torch.testing.assert_close(jacfwd(both, randomness="same")(latents), backward)
    for vectorize in (False, True):
        got: Any = torch.autograd.functional.jacobian(both, latents, vectorize=vectorize)
        torch.testing.assert_close(got, backward)


@pytest.mark.parametrize("name", ["VectorQuantizer", "LFQ", "BSQ", "FSQ", "SimVQ",
                                  "VectorQuantizer, all options"])  # fmt: skip
def test_hessians_forward_over_backward(name: str) -> None:
    quantizer = doubled(name)
    latents = data(3, quantizer.dim)

    def value(x: Tensor) -> Any:
        vectors, _, loss = quantizer(x)
        return 3 * loss + (vectors.square().sum() if name == "FSQ" else 0 * x.sum())

    expected: Any = torch.autograd.functional.hessian(value, latents)
    torch.testing.assert_close(torch.func.hessian(value)(latents), expected)
    torch.testing.assert_close(jacrev(jacrev(value))(latents), expected)
    assert expected.abs().max() > 0


def slopes_of_slopes(form: Any, case: Case) -> list[Tensor]:
    """Gradients of a function of the gradients, by autograd twice."""
    leaves = [leaf.double().requires_grad_() for leaf in case.leaves]
    positional, more = case.call(*leaves)
    results = form(*positional, **more)
    results = [results] if isinstance(results, Tensor) else list(results)
    smooth = [result for result in results if result.requires_grad]
    if not smooth:
        return []
    weights = [torch.arange(1, r.numel() + 1).reshape(r.shape).double().cos() for r in smooth]
    for weight in weights:
        weight.requires_grad_()
    total = torch.stack([(r * w).sum() for r, w in zip(smooth, weights, strict=True)]).sum()
    firsts = torch.autograd.grad(total, leaves, create_graph=True, allow_unused=True)
    used = [first for first in firsts if first is not None and first.requires_grad]
    second = sum(((first * first.detach().cos()).sum() for first in used), total * 0)
    return list(
        torch.autograd.grad(second, [*leaves, *weights], allow_unused=True, materialize_grads=True)
    )


@pytest.mark.parametrize(("name", "i"), [(n, i) for n in FORMS for i in range(len(FORMS[n]))])
def test_second_derivatives_of_the_fast_form_are_the_plain_ones(name: str, i: int) -> None:
    plain, fast = (slopes_of_slopes(form, FORMS[name][i]) for form in PAIRS[name])
    assert len(plain) == len(fast)
    for one, other in zip(fast, plain, strict=True):
        size = max(float(other.detach().abs().max()), 1e-9) if other.numel() else 1.0
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8 * size)


@pytest.mark.parametrize(("name", "i"), [(n, i) for n in FORMS for i in range(len(FORMS[n]))])
def test_forward_derivatives_of_the_fast_form_are_the_plain_ones(name: str, i: int) -> None:
    case = FORMS[name][i]
    leaves = tuple(leaf.double() for leaf in case.leaves)
    tangents = tuple(data(*leaf.shape, seed=9) for leaf in leaves)

    def run(form: Any) -> list[Tensor]:
        def of(*inputs: Tensor) -> tuple[Tensor, ...]:
            positional, more = case.call(*inputs)
            results = form(*positional, **more)
            return (results,) if isinstance(results, Tensor) else tuple(results)

        return list(jvp(of, leaves, tangents)[1])

    for one, other in zip(run(PAIRS[name][1]), run(PAIRS[name][0]), strict=True):
        size = max(float(other.detach().abs().max()), 1e-9) if other.numel() else 1.0
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8 * size)


def test_the_pull_has_the_second_derivative_of_its_squares() -> None:
    """The gradient penalty of a loss over 12 numbers: 2 beta / 12 on the diagonal, not 0."""
    quantizer = VectorQuantizer(3, 2, commitment_weight=0.3, codebook_weight=0.8).double()
    latents = data(4, 3)
    hessian: Any = torch.autograd.functional.hessian(lambda x: quantizer(x).loss, latents)
    expected = torch.eye(12, dtype=torch.float64) * 2 * 0.3 / 12
    torch.testing.assert_close(hessian.reshape(12, 12), expected)


@pytest.mark.parametrize("size", [2, 30])
def test_a_codebook_that_moves_between_the_passes_is_no_fault(size: int) -> None:
    """With and without a second derivative, for small and for large codebooks."""
    quantizer = VectorQuantizer(3, size, generator=seeded(1)).double()
    latents = data(9, 3).requires_grad_()
    wanted = torch.autograd.grad(quantizer(latents).loss, latents)[0]
    loss = quantizer(latents).loss
    with torch.no_grad():
        quantizer.weight.mul_(2)
    torch.testing.assert_close(torch.autograd.grad(loss, latents)[0], wanted)
    assert copy.deepcopy(quantizer).weight.requires_grad


def test_functions_map() -> None:
    x, q, e = data(3, 8, 4), data(3, 8, 4, seed=2), data(3, 5, 4, seed=3)
    functions: dict[str, Any] = {
        "straight_through": lambda x, q, e: straight_through(x, q).sin().sum(),
        "rotation_trick": lambda x, q, e: rotation_trick(x, q).sin().sum(),
        "commitment_loss": lambda x, q, e: commitment_loss(x, q),
        "entropy": lambda x, q, e: codebook_entropy_loss(x, e, temperature=0.7),
        "orthogonality": lambda x, q, e: orthogonality_loss(e) + 0 * x.sum(),
    }
    for name, function in functions.items():
        slopes = vmap(grad(function, argnums=(0, 2)))(x, q, e)
        for i in range(3):
            leaves = [x[i].clone().requires_grad_(), e[i].clone().requires_grad_()]
            value = function(leaves[0], q[i], leaves[1])
            expected = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
            for got, wanted in zip(slopes, expected, strict=True):
                torch.testing.assert_close(got[i], wanted, msg=name)


def test_models_of_an_ensemble_run_at_once() -> None:
    """`stack_module_state`: a codebook each."""
    for kind in (VectorQuantizer, SimVQ):
        models = [kind(3, 7, generator=seeded(i)) for i in range(3)]
        stacked = torch.func.stack_module_state(models)
        latents = data(9, 3).float()

        def run(w: Any, b: Any, model: nn.Module = models[0], x: Tensor = latents) -> Any:
            return functional_call(model, (w, b), (x,))

        got = vmap(run)(*stacked)
        for i, model in enumerate(models):
            expected = model(latents)
            assert torch.equal(got.codes[i], expected.codes)
            torch.testing.assert_close(got.loss[i], expected.loss)


def test_estimators_of_bounds_map_in_half_precision() -> None:
    for quantizer in (FSQ([5, 8, 3]), LFQ(3), BSQ(3)):
        latents = data(2, 9, 3).bfloat16()
        slopes = vmap(grad(lambda x, q=quantizer: scalar(q, x)))(latents)
        assert slopes.dtype == torch.bfloat16
        assert slopes.isfinite().all()
