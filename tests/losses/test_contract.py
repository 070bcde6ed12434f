"""What every loss promises, asked of every name in `ssltok.losses.__all__`.

A new loss is one line in `CASES`: how to draw its inputs for a batch (float32), a value that is
not the default for each option, and which inputs are targets.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from ssltok import losses
from tests._shared.options import check_options, rebuilt
from tests.losses.test_laws import CASES as LAWS
from tests.losses.test_laws import UNBOUNDED

Inputs = tuple[Tensor, ...]


class Case(NamedTuple):
    draw: Callable[[int, torch.Generator], Inputs]
    options: dict[str, Any] = {}  # noqa: RUF012 - read only
    targets: tuple[int, ...] = ()  # inputs that must get no gradient
    vmaps: bool = True  # False where a mask picks rows: their number depends on the data
    least_batch: int = 2


def normal(*shapes: str) -> Callable[[int, torch.Generator], Inputs]:
    """Correlated normal inputs; `"b 6"` is `(batch, 6)`, and `+` asks for probabilities."""

    def draw(batch: int, generator: torch.Generator) -> Inputs:
        drawn: list[Tensor] = []
        for shape in shapes:
            sizes = [batch if s == "b" else int(s) for s in shape.rstrip("+").split()]
            z = torch.randn(sizes, generator=generator)
            if drawn and drawn[-1].shape == z.shape and not shape.endswith("+"):
                z = 0.7 * z + 0.6 * drawn[-1]
            drawn.append(z.softmax(dim=-1) if shape.endswith("+") else z)
        return tuple(drawn)

    return draw


def and_labels(draw: Callable[[int, torch.Generator], Inputs]) -> Callable[..., Inputs]:
    return lambda batch, generator: (*draw(batch, generator), torch.arange(batch) // 2)


def masked(*shapes: str, codes: int = 0) -> Callable[[int, torch.Generator], Inputs]:
    """Normal inputs `(batch, 5, ...)`, codes below `codes` if any, and a mask of three of five."""

    def draw(batch: int, generator: torch.Generator) -> Inputs:
        mask = torch.tensor([True, False, True, True, False]).repeat(batch, 1)
        drawn = normal(*shapes)(batch, generator)
        if codes:
            drawn = (*drawn, torch.randint(codes, (batch, 5), generator=generator))
        return (*drawn, mask)

    return draw


def ragged(*shapes: str) -> Callable[[int, torch.Generator], Inputs]:
    """Normal inputs `(batch, 5, ...)`, of which every other series has three real tokens."""

    def draw(batch: int, generator: torch.Generator) -> Inputs:
        valid = torch.arange(5) < torch.where(torch.arange(batch) % 2 == 0, 5, 3)[:, None]
        return (*normal(*shapes)(batch, generator), valid)

    return draw


def sequence(batch: int, generator: torch.Generator) -> Inputs:
    return (*normal("b 5 7")(batch, generator), torch.randint(7, (batch, 5), generator=generator))


def and_moment(draw: Callable[[int, torch.Generator], Inputs]) -> Callable[..., Inputs]:
    """And the second moment of other rows."""

    def with_moment(batch: int, generator: torch.Generator) -> Inputs:
        other = torch.randn(9, 6, generator=generator)
        return (*draw(batch, generator), other.T @ other / 9)

    return with_moment


PAIR = normal("b 6", "b 6")
THREE = normal("b 6", "b 6", "b 6")
VARIANCES = {"invariance_weight": 3.0, "variance_weight": 5.0, "covariance_weight": 0.7}
SEEDED = ("lejepa_loss", "lenepa_loss", "sigreg_loss", "visreg_loss", "w_mse_loss")
CASES: dict[str, Case] = {
    "cka_loss": Case(ragged("b 5 6", "b 5 4"), targets=(1,)),
    "d_axis_distillation_loss": Case(ragged("b 5 6", "b 5 6"), targets=(1,)),
    "gram_anchoring_loss": Case(ragged("b 5 6", "b 5 4"), {"clip_negative": True}, targets=(1,)),
    "repa_loss": Case(ragged("b 5 6", "b 5 6"), targets=(1,)),
    "t_axis_distillation_loss": Case(
        ragged("b 5 6", "b 5 6"), {"similarity_weight": 3.0}, targets=(1,)
    ),
    "vf_loss": Case(
        ragged("b 5 6", "b 5 6"),
        {
            "distance_weight": 3.0,
            "cosine_weight": 0.3,
            "distance_margin": 0.1,
            "cosine_margin": 0.2,
        },
        targets=(1,),
    ),
    "capi_loss": Case(masked("b 5 6", "b 5 6+"), {"temperature": 0.3}, targets=(1,), vmaps=False),
    "emp_ssl_loss": Case(THREE, {"agreement_weight": 3.0, "eps": 0.7}),
    "frossl_loss": Case(THREE, {"invariance_weight": 3.0}),
    "lejepa_loss": Case(
        THREE,
        {"global_views": 2, "gaussian_weight": 0.3, "slices": 3, "points": 4, "limit": 2.0},
    ),
    "lenepa_loss": Case(
        normal("b 5 6", "b 5 6"),
        {"gaussian_weight": 3.0, "slices": 3, "points": 4, "limit": 2.0},
        vmaps=False,
    ),
    "mmcr_loss": Case(THREE, {"compression_weight": 0.3}),
    "nepa_loss": Case(normal("b 5 6", "b 5 6"), targets=(1,), vmaps=False),
    "simdino_loss": Case(
        normal("3 b 6", "2 b 6"),
        {"agreement_weight": 0.3, "eps": 0.2, "average": False},
        targets=(1,),
    ),
    "tico_loss": Case(and_moment(PAIR), {"contrast_weight": 3.0, "momentum": 0.7}, targets=(2,)),
    "visreg_loss": Case(
        THREE,
        {
            "global_views": 2,
            "regularization_weight": 0.3,
            "scale_weight": 2.0,
            "shape_weight": 3.0,
            "center_weight": 0.7,
            "slices": 3,
            "eps": 0.1,
        },
    ),
    "dcl_loss": Case(PAIR, {"temperature": 0.3}),
    "dclw_loss": Case(PAIR, {"temperature": 0.3, "weight_temperature": 0.8}),
    "labelled_nt_xent_loss": Case(
        and_labels(normal("b 6")), {"temperature": 0.3, "miner": losses.multi_similarity_pairs}
    ),
    "multi_similarity_loss": Case(
        and_labels(normal("b 6")),
        {
            "positive_scale": 3.0,
            "negative_scale": 7.0,
            "threshold": 0.2,
            "miner": losses.multi_similarity_pairs,
        },
    ),
    "nnclr_loss": Case(PAIR, {"temperature": 0.3}, targets=(1,)),
    "ressl_loss": Case(
        normal("b 6", "b 6", "9 6"),
        {"temperature": 0.3, "teacher_temperature": 0.2},
        targets=(1, 2),
    ),
    "vicregl_loss": Case(
        normal("b 5 6", "b 4 6", "b 5 2", "b 4 2"),
        {**VARIANCES, "matches": 3, "eps": 0.01},
        targets=(2, 3),
    ),
    "barlow_twins_loss": Case(PAIR, {"redundancy_weight": 0.3}),
    "cosine_regression_loss": Case(PAIR, targets=(1,)),
    "dino_loss": Case(normal("3 b 6", "2 b 6+"), {"temperature": 0.3}, targets=(1,)),
    "discriminator_loss": Case(PAIR),
    "distillation_loss": Case(PAIR, {"temperature": 2.0}, targets=(1,)),
    "gaussian_kl_loss": Case(PAIR),
    "generator_loss": Case(normal("b 6")),
    "hard_distillation_loss": Case(PAIR, targets=(1,)),
    "hierarchical_contrastive_loss": Case(
        normal("b 5 6", "b 5 6"), {"instance_weight": 0.2, "temporal_unit": 1}
    ),
    "ibot_patch_loss": Case(
        masked("b 5 6", "b 5 6+"), {"temperature": 0.3}, targets=(1,), vmaps=False
    ),
    "info_nce_loss": Case(normal("b 6", "b 6", "9 6"), {"temperature": 0.3}, targets=(1, 2)),
    "koleo_loss": Case(normal("b 6"), {"eps": 0.1}),
    "latent_regression_loss": Case(PAIR, {"beta": 0.2}, targets=(1,)),
    "least_squares_discriminator_loss": Case(PAIR),
    "least_squares_generator_loss": Case(normal("b 6")),
    "masked_reconstruction_loss": Case(
        masked("b 5 6", "b 5 6"), {"beta": 0.5, "normalize_target": True}, targets=(1,), vmaps=False
    ),
    "masked_token_loss": Case(
        masked("b 5 7", codes=7), {"label_smoothing": 0.2, "reduction": "elbo"}, vmaps=False
    ),
    "msn_loss": Case(
        normal("2 b 6", "b 6+"), {"temperature": 0.3, "me_max_weight": 0.2}, targets=(1,)
    ),
    "negative_cosine_loss": Case(PAIR, targets=(1,)),
    "next_token_loss": Case(sequence, vmaps=False),
    "nt_xent_loss": Case(normal("b 6", "b 6", "b 6"), {"temperature": 0.3}),
    "region_distillation_loss": Case(
        normal("b 5 6", "b 4 6+", "b 5 3", "b 4 3"), {"temperature": 0.3}, targets=(1, 2, 3)
    ),
    "sigreg_loss": Case(normal("b 6"), {"slices": 3, "points": 4, "limit": 2.0}),
    "supcon_loss": Case(and_labels(normal("b 6")), {"temperature": 0.3, "base_temperature": 0.7}),
    "swapped_prediction_loss": Case(normal("3 b 6", "2 b 6+"), {"temperature": 0.3}, targets=(1,)),
    "temporal_contrastive_loss": Case(normal("b 3 6", "b 3 6")),
    "triplet_loss": Case(
        normal("b 6", "b 6", "b 6"), {"margin": 2.5, "normalize": False, "squared": False}
    ),
    "vibcreg_loss": Case(PAIR, {**VARIANCES, "eps": 0.01}),
    "vicreg_loss": Case(PAIR, {**VARIANCES, "eps": 0.01}),
    "w_mse_loss": Case(
        normal("b 2", "b 2"),
        {"sub_batch": 4, "iterations": 2, "eps": 0.2, "normalize": False},
        least_batch=3,
    ),
}
OPERATORS = {
    "center_and_sharpen", "cholesky_whiten", "coding_rate", "gradient_ratio", "iterative_whiten",
    "label_pairs", "multi_similarity_pairs", "nearest_in_queue", "normalize_over_tokens",
    "power_law_prior", "pseudo_labels", "sinkhorn", "topk_layer_target",
}  # fmt: skip
NAMES = sorted(CASES)
# `test_laws.py` asks more of these: second derivatives, gradients of the compiled and of the mapped
# loss, digits at every scale. What it asks is not asked again here.
REST = [name for name in NAMES if name not in LAWS]


def call(name: str, *inputs: Tensor, **options: Any) -> Tensor:
    """The loss; with a seeded generator where it takes one."""
    function = getattr(losses, name)
    if "generator" in inspect.signature(function).parameters:
        options["generator"] = torch.Generator().manual_seed(0)
    value: Tensor = function(*inputs, **options)
    return value


def draw(name: str, batch: int = 8) -> Inputs:
    return CASES[name].draw(batch, torch.Generator().manual_seed(1))


def gradients(name: str, inputs: Inputs, **options: Any) -> tuple[Tensor, list[Tensor | None]]:
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    value = call(name, *leaves, **options)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    return value, list(torch.autograd.grad(value, wanted, allow_unused=True))


def module_of(name: str) -> type[torch.nn.Module]:
    """`nt_xent_loss` is `NTXentLoss`: the same letters."""
    wanted = name.replace("_", "")
    (found,) = [n for n in losses.__all__ if n.lower() == wanted and n != name]
    module: type[torch.nn.Module] = getattr(losses, found)
    return module


# --- the list itself ------------------------------------------------------------------------


def test_every_public_name_is_under_the_contract() -> None:
    functions = {n for n in losses.__all__ if inspect.isfunction(getattr(losses, n))}
    assert {n for n in functions if n.endswith("_loss")} == set(CASES)
    assert {n for n in functions if not n.endswith(("_loss", "_terms"))} == OPERATORS
    modules = {module_of(name).__name__ for name in NAMES}
    terms = {n for n in losses.__all__ if n.endswith(("Terms", "Labels", "Pairs"))}
    assert {n for n in losses.__all__ if n not in functions} == modules | terms


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_in_its_case(name: str) -> None:
    parameters = inspect.signature(getattr(losses, name)).parameters.values()
    options = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "generator"}
    assert options == set(CASES[name].options)
    bound = inspect.signature(module_of(name)).parameters.values()
    mine = {p.name: p.default for p in parameters if p.name in options}
    assert {p.name: p.default for p in bound if p.kind is p.KEYWORD_ONLY} == mine


# --- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_finite_differentiable_scalar(name: str) -> None:
    case = CASES[name]
    value, found = gradients(name, draw(name))
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.isfinite()
    for index, gradient in enumerate(found):
        if index in case.targets:
            assert gradient is None, f"input {index} is a target"
        else:
            assert gradient is not None
            assert gradient.isfinite().all()
            assert gradient.abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_inputs_and_random_state_stay(name: str) -> None:
    inputs = draw(name)
    copies = [x.clone() for x in inputs]
    state = torch.get_rng_state()
    first = call(name, *inputs)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(x, copy) for x, copy in zip(inputs, copies, strict=True))
    assert torch.equal(call(name, *inputs), first)


@pytest.mark.parametrize("name", NAMES)
def test_the_module_is_the_function(name: str) -> None:
    case, inputs = CASES[name], draw(name)
    every = inspect.signature(getattr(losses, name)).parameters
    seed = {"generator": torch.Generator().manual_seed(0)} if "generator" in every else {}
    module = module_of(name)()
    assert torch.equal(module(*inputs, **seed), call(name, *inputs))
    assert not list(module.parameters())
    assert not module.state_dict()
    check_options(module_of(name), case.options)
    bound = module_of(name)(**case.options)
    for module in (bound, rebuilt(bound)):
        seed = {"generator": torch.Generator().manual_seed(0)} if "generator" in every else {}
        assert torch.equal(module(*inputs, **seed), call(name, *inputs, **case.options))


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name in NAMES for option in CASES[name].options]
)
def test_every_option_matters(name: str, option: str) -> None:
    options = dict(CASES[name].options)
    without = {o: v for o, v in options.items() if o != option}
    if (name, option) == ("w_mse_loss", "sub_batch"):
        without.pop("iterations")
    inputs = draw(name)
    if name in {"vicreg_loss", "vicregl_loss", "vibcreg_loss"}:
        inputs = tuple(0.4 * x for x in inputs)  # below the hinge
    assert not torch.equal(call(name, *inputs, **options), call(name, *inputs, **without))


# --- precision ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_autocast_changes_nothing_that_matters(name: str) -> None:
    inputs = draw(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = call(name, *inputs)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, call(name, *inputs), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_inputs_are_read_exactly(name: str) -> None:
    """The numbers of a bfloat16 tensor, computed upon in float32."""
    half = tuple(x.bfloat16() if x.is_floating_point() else x for x in draw(name))
    wide = tuple(x.float() if x.is_floating_point() else x for x in half)
    value = call(name, *half)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, call(name, *wide), rtol=1e-5, atol=1e-6)


# Their papers stop a gradient inside: what flows is not the slope of the value. Their own tests
# compare it with a transcription that stops it too.
STOPPED = ("dclw_loss", "tico_loss", "visreg_loss")


@pytest.mark.parametrize("name", [name for name in REST if name not in STOPPED])
def test_gradients_are_right(name: str) -> None:
    case = CASES[name]
    inputs = [x.double() if x.is_floating_point() else x for x in draw(name, max(4, 2))]
    for index, x in enumerate(inputs):
        if x.is_floating_point() and index not in case.targets:
            x.requires_grad_()
    slices = "slices" in CASES[name].options
    options = {"slices": 3} if slices else {}
    assert torch.autograd.gradcheck(partial(call, name, **options), inputs)


# --- edges ----------------------------------------------------------------------------------


def check_finite(name: str, inputs: Inputs) -> None:
    value, found = gradients(name, inputs)
    assert value.isfinite()
    assert all(g is None or bool(g.isfinite().all()) for g in found)


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_batch(name: str) -> None:
    check_finite(name, draw(name, CASES[name].least_batch))


@pytest.mark.parametrize("name", NAMES)
def test_collapse_has_a_finite_gradient(name: str) -> None:
    """All rows alike, and all rows zero."""
    for scale in (1.0, 0.0):
        check_finite(
            name,
            tuple(
                scale * torch.full_like(x, 1 / x.shape[-1]) if x.is_floating_point() else x
                for x in draw(name)
            ),
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_feature_has_a_finite_gradient(name: str) -> None:
    inputs = draw(name)
    for x in inputs:
        if x.is_floating_point():
            x[..., 0] = 0.1
    check_finite(name, inputs)


@pytest.mark.parametrize("name", sorted({*REST, *UNBOUNDED}))
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_small_and_large_inputs(name: str, scale: float) -> None:
    inputs = tuple(
        x if index in CASES[name].targets or not x.is_floating_point() else scale * x
        for index, x in enumerate(draw(name))
    )
    if name == "gaussian_kl_loss" and scale > 1:
        inputs = (inputs[0], inputs[1] / scale)  # exp(1e4) is infinite: a log-variance is none
    check_finite(name, inputs)


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, -0.1, float("nan")])
@pytest.mark.parametrize("name", [n for n in NAMES if "temperature" in CASES[n].options])
def test_a_temperature_is_positive(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name}: temperature must be > 0; got {value}$"):
        call(name, *draw(name), temperature=value)


TWO_SIZES = {
    "discriminator_loss", "least_squares_discriminator_loss",  # any scores will do
    "cka_loss", "gram_anchoring_loss",  # only similarities are compared
}  # fmt: skip
PAIRED = [n for n in NAMES if len([x for x in draw(n) if x.is_floating_point()]) > 1]


@pytest.mark.parametrize("name", [n for n in PAIRED if n not in TWO_SIZES])
def test_inputs_that_do_not_match_are_refused(name: str) -> None:
    """Whatever follows the first input may not be narrower."""
    inputs = draw(name)
    for index in range(1, len(inputs)):
        if inputs[index].is_floating_point():
            cut = [x[..., 1:] if i == index else x for i, x in enumerate(inputs)]
            with pytest.raises(ValueError, match=f"^{name}: "):
                call(name, *cut)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_tensor_is_refused(name: str) -> None:
    inputs = list(draw(name))
    for index in range(len(inputs)):
        wrong = [x.tolist() if i == index else x for i, x in enumerate(inputs)]
        with pytest.raises(TypeError, match=rf"^{name}: .* must be a tensor; got list$"):
            call(name, *wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(n for n in losses.__all__ if n.endswith("_terms")))
def test_terms_complain_in_their_own_name(name: str) -> None:
    """As the loss does in its own: each names the function that was called."""
    for who in (name, name.replace("_terms", "_loss")):
        inputs = draw(name.replace("_terms", "_loss"))
        with pytest.raises(ValueError, match=f"^{who}: .* must be floating point; got torch.int64"):
            getattr(losses, who)(*(x.long() for x in inputs))
        options = {"eps", "temperature"} & set(inspect.signature(getattr(losses, who)).parameters)
        for option in options:
            with pytest.raises(ValueError, match=f"^{who}: {option} must be >=? 0; got -1.0$"):
                getattr(losses, who)(*inputs, **{option: -1.0})


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_is_refused_or_costs_nothing(name: str) -> None:
    """Where the mean over no row has a meaning, it is 0; anywhere else the batch is refused."""
    inputs = draw(name)
    axis = 1 if name in {"dino_loss", "simdino_loss", "swapped_prediction_loss"} else 0
    none = [x.narrow(axis, 0, 0) if name != "msn_loss" else x[..., :0, :] for x in inputs]
    said, value = "", torch.ones(())
    try:
        value = call(name, *none)
    except ValueError as error:
        said = str(error)
    assert said.startswith(f"{name}: ") or (not said and value == 0)


# --- transforms -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo's
@pytest.mark.parametrize("name", REST)
def test_it_compiles_in_one_graph(name: str) -> None:
    options = {"generator": None} if name in SEEDED else {}  # no graph input
    torch._dynamo.reset()
    function, inputs = getattr(losses, name), draw(name)
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    torch.manual_seed(0)
    expected = function(*inputs, **options)
    torch.manual_seed(0)
    torch.testing.assert_close(compiled(*inputs, **options), expected)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", [name for name in REST if CASES[name].vmaps])
def test_it_vmaps(name: str) -> None:
    pairs = [CASES[name].draw(6, torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    stacked = [torch.stack(xs) for xs in zip(*pairs, strict=True)]
    options = {"generator": None} if name in SEEDED else {}
    function = partial(getattr(losses, name), **options)
    torch.manual_seed(0)
    got = torch.func.vmap(function, randomness="same")(*stacked)
    for one, value in zip(pairs, got, strict=True):
        torch.manual_seed(0)
        torch.testing.assert_close(value, function(*one))
