"""Laws of losses of predictions and targets, beyond the contract: digits, derivatives, graphs."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok import losses
from ssltok._shared import sizes
from tests.losses.laws import Case, normal, probabilities

MASK = torch.tensor([[1, 0, 1], [0, 0, 1]], dtype=torch.bool)
VALID = torch.tensor([[1, 1, 1], [1, 1, 0]], dtype=torch.bool)
CODES = torch.tensor([[0, 2, 1], [3, -1, 2]])
LABELS = torch.tensor([0, 1, 0, -1, 0])

CASES = {
    case.loss.__name__: case
    for case in [
        Case(
            losses.cosine_regression_loss,
            {},
            lambda g: (normal(g, 2, 5), normal(g, 2, 5)),
            (1,),
        ),
        Case(
            losses.negative_cosine_loss,
            {},
            lambda g: (normal(g, 2, 5), normal(g, 2, 5)),
            (1,),
        ),
        Case(
            losses.dino_loss,
            {"temperature": 0.4},
            lambda g: (normal(g, 3, 2, 5), probabilities(g, 2, 2, 5)),
            (1,),
        ),
        Case(
            losses.swapped_prediction_loss,
            {"temperature": 0.4},
            lambda g: (normal(g, 3, 2, 5), probabilities(g, 2, 2, 5)),
            (1,),
        ),
        Case(
            losses.ibot_patch_loss,
            {"temperature": 0.4},
            lambda g: (normal(g, 2, 3, 5), probabilities(g, 2, 3, 5), MASK),
            (1,),
        ),
        Case(
            losses.region_distillation_loss,
            {"temperature": 0.4},
            lambda g: (
                normal(g, 2, 3, 5),
                probabilities(g, 2, 4, 5),
                normal(g, 2, 3, 6),
                normal(g, 2, 4, 6),
            ),
            (1, 2, 3),
        ),
        Case(
            losses.msn_loss,
            {"temperature": 0.4, "me_max_weight": 3.0},
            lambda g: (normal(g, 3, 2, 5), probabilities(g, 2, 5)),
            (1,),
        ),
        Case(
            losses.distillation_loss,
            {"temperature": 1.5},
            lambda g: (normal(g, 2, 5), normal(g, 2, 5)),
            (1,),
        ),
        Case(
            losses.hard_distillation_loss,
            {},
            lambda g: (normal(g, 2, 5), normal(g, 2, 5)),
            (1,),
        ),
        Case(
            losses.latent_regression_loss,
            {"beta": 0.6},
            lambda g: (normal(g, 2, 3, 5), normal(g, 2, 3, 5), MASK),
            (1,),
        ),
        Case(
            losses.masked_reconstruction_loss,
            {"beta": 0.7, "normalize_target": True},
            lambda g: (normal(g, 2, 3, 5), normal(g, 2, 3, 5), MASK),
            (1,),
        ),
        Case(
            losses.next_token_loss,
            {},
            lambda g: (normal(g, 2, 3, 5), CODES),
            (),
        ),
        Case(
            losses.discriminator_loss,
            {},
            lambda g: (normal(g, 2, 5), normal(g, 3, 4)),
            (),
        ),
        Case(losses.generator_loss, {}, lambda g: (normal(g, 2, 5),), ()),
        Case(
            losses.least_squares_discriminator_loss,
            {},
            lambda g: (normal(g, 2, 5), normal(g, 3, 4)),
            (),
        ),
        Case(
            losses.least_squares_generator_loss,
            {},
            lambda g: (normal(g, 2, 5),),
            (),
        ),
        Case(
            losses.capi_loss,
            {"temperature": 0.4},
            lambda g: (normal(g, 2, 3, 5), probabilities(g, 2, 3, 5), MASK),
            (1,),
        ),
        Case(
            losses.emp_ssl_loss,
            {"agreement_weight": 3.0, "eps": 0.7},
            lambda g: (normal(g, 3, 4), normal(g, 3, 4), normal(g, 3, 4)),
            (),
        ),
        Case(
            losses.frossl_loss,
            {"invariance_weight": 0.4},
            lambda g: (normal(g, 3, 4), normal(g, 3, 4), normal(g, 3, 4)),
            (),
        ),
        Case(
            losses.mmcr_loss,
            {"compression_weight": 0.4},
            lambda g: (normal(g, 3, 4), normal(g, 3, 4)),
            (),
        ),
        Case(
            losses.dcl_loss,
            {"temperature": 0.4},
            lambda g: (normal(g, 3, 4), normal(g, 3, 4)),
            (),
        ),
        Case(
            losses.nnclr_loss,
            {"temperature": 0.4},
            lambda g: (normal(g, 3, 4), normal(g, 3, 4)),
            (1,),
        ),
        Case(
            losses.ressl_loss,
            {"temperature": 0.4, "teacher_temperature": 0.3},
            lambda g: (normal(g, 3, 4), normal(g, 3, 4), normal(g, 5, 4)),
            (1, 2),
        ),
        Case(
            losses.multi_similarity_loss,
            {"positive_scale": 3.0, "negative_scale": 7.0, "threshold": 0.2},
            lambda g: (normal(g, 5, 4), LABELS),
            (),
        ),
        Case(
            losses.labelled_nt_xent_loss,
            {"temperature": 0.4},
            lambda g: (normal(g, 5, 4), LABELS),
            (),
        ),
        Case(
            losses.nepa_loss,
            {},
            lambda g: (normal(g, 2, 3, 5), normal(g, 2, 3, 5), VALID),
            (1,),
        ),
        Case(
            losses.simdino_loss,
            {"agreement_weight": 0.4, "eps": 0.2, "average": False},
            lambda g: (normal(g, 3, 2, 5), normal(g, 2, 2, 5)),
            (1,),
        ),
        Case(
            losses.cka_loss,
            {},
            lambda g: (normal(g, 2, 3, 5), normal(g, 2, 3, 4), VALID),
            (1,),
        ),
        Case(
            losses.d_axis_distillation_loss,
            {},
            lambda g: (normal(g, 2, 3, 5), normal(g, 2, 3, 5), VALID),
            (1,),
        ),
        Case(
            losses.gram_anchoring_loss,
            {"clip_negative": True},
            lambda g: (normal(g, 2, 3, 5), normal(g, 2, 3, 4), VALID),
            (1,),
        ),
        Case(
            losses.repa_loss,
            {},
            lambda g: (normal(g, 2, 3, 5), normal(g, 2, 3, 5), VALID),
            (1,),
        ),
        Case(
            losses.t_axis_distillation_loss,
            {"similarity_weight": 0.4},
            lambda g: (normal(g, 2, 3, 5), normal(g, 2, 3, 5), VALID),
            (1,),
        ),
        Case(
            losses.vf_loss,
            {"distance_weight": 3.0, "distance_margin": 0.1, "cosine_margin": 0.2},
            lambda g: (normal(g, 2, 3, 5), normal(g, 2, 3, 5), VALID),
            (1,),
        ),
        Case(
            losses.gaussian_kl_loss,
            {},
            lambda g: (normal(g, 2, 3), normal(g, 2, 3)),
            (),
        ),
    ]
}
WITH_PIECES = (
    "dino_loss",
    "ibot_patch_loss",
    "region_distillation_loss",
    "swapped_prediction_loss",
)
CASES |= {f"{name} in pieces": CASES[name] for name in WITH_PIECES}
NAMES = sorted(CASES)
PIECES = " in pieces"


@pytest.fixture(autouse=True)
def size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-entropies treat large inputs piece by piece; by this name, small ones too."""
    if name.endswith(PIECES):
        monkeypatch.setattr(sizes, "CACHED_NUMBERS", 4)


UNBOUNDED = {"gaussian_kl_loss"}  # the exponential of 1e4 is infinite, and rightly so


def inputs_of(case: Case, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    drawn = case.draw(torch.Generator().manual_seed(seed))
    return [x.to(dtype) if x.is_floating_point() else x for x in drawn]


def free(case: Case, inputs: list[Tensor]) -> list[int]:
    """The places of the inputs that get a gradient."""
    return [i for i, x in enumerate(inputs) if x.is_floating_point() and i not in case.targets]


def gradients(case: Case, inputs: list[Tensor], **options: Any) -> tuple[Tensor, list[Tensor]]:
    leaves = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
    value = case.loss(*leaves, **options)
    wanted = [leaves[i] for i in free(case, inputs)]
    return value.detach(), list(torch.autograd.grad(value, wanted))


@pytest.mark.parametrize("name", NAMES)
def test_first_and_second_derivatives(name: str) -> None:
    case = CASES[name]
    inputs = inputs_of(case)
    places = free(case, inputs)

    def of_free(*chosen: Tensor) -> Tensor:
        given = list(inputs)
        for i, x in zip(places, chosen, strict=True):
            given[i] = x
        return case.loss(*given, **case.options)

    leaves = [inputs[i].requires_grad_() for i in places]
    assert torch.autograd.gradcheck(of_free, leaves)
    assert torch.autograd.gradgradcheck(of_free, leaves)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_backward_pass_is_the_same(name: str) -> None:
    case = CASES[name]
    leaves = [x.requires_grad_(x.is_floating_point()) for x in inputs_of(case)]
    value = case.loss(*leaves)
    wanted = [leaves[i] for i in free(case, leaves)]
    first = torch.autograd.grad(value, wanted, retain_graph=True)
    second = torch.autograd.grad(2 * value, wanted)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(2 * a, b)


@pytest.mark.parametrize(
    ("name", "scale"),
    [(n, s) for n in NAMES for s in (0.0, 1e-4, 1e4) if s < 1 or n not in UNBOUNDED],
)
def test_finite_at_any_scale_and_at_collapse(name: str, scale: float) -> None:
    """Scale 0 is the collapse to one point; the oracle is the same in float64."""
    case = CASES[name]
    inputs = inputs_of(case, dtype=torch.float32)
    for i in free(case, inputs):
        inputs[i] = inputs[i] * scale
    value, grads = gradients(case, inputs)
    exact = [x.double() if x.is_floating_point() else x for x in inputs]
    want, want_grads = gradients(case, exact)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), want, rtol=1e-5, atol=1e-6)
    for a, b in zip(grads, want_grads, strict=True):
        assert torch.isfinite(a).all()
        bound = 1e-7 + 1e-5 * float(b.abs().max())
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=bound)


@pytest.mark.parametrize("name", NAMES)
def test_autocast_computes_in_single_precision(name: str) -> None:
    case = CASES[name]
    inputs = [x.bfloat16() if x.is_floating_point() else x for x in inputs_of(case)]
    wide = [x.float() if x.is_floating_point() else x for x in inputs]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, grads = gradients(case, inputs)
    want, want_grads = gradients(case, wide)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, want, rtol=1e-6, atol=1e-6)
    for a, b in zip(grads, want_grads, strict=True):
        torch.testing.assert_close(a.float(), b, rtol=1e-2, atol=1e-2 * float(b.abs().max()))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo's
@pytest.mark.parametrize("name", NAMES)
def test_compiles_whole(name: str) -> None:
    case = CASES[name]
    torch.compiler.reset()
    compiled = torch.compile(case.loss, fullgraph=True, backend="aot_eager")
    inputs = inputs_of(case)
    want, want_grads = gradients(case, inputs, **case.options)
    got, got_grads = gradients(case._replace(loss=compiled), inputs, **case.options)
    torch.testing.assert_close(got, want)
    for a, b in zip(got_grads, want_grads, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_maps_over_a_batch_of_batches(name: str) -> None:
    case = CASES[name]
    several = [inputs_of(case, seed) for seed in range(3)]
    stacked = [torch.stack(column) for column in zip(*several, strict=True)]
    places = tuple(free(case, several[0]))
    mapped = torch.func.vmap(torch.func.grad_and_value(case.loss, argnums=places))
    grads, values = mapped(*stacked)
    for row, inputs in enumerate(several):
        want, want_grads = gradients(case, inputs)
        torch.testing.assert_close(values[row], want)
        for a, b in zip(grads, want_grads, strict=True):
            torch.testing.assert_close(a[row], b)
