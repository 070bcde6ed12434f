"""What does not count must not poison: numbers at hidden, padded or unlabelled places.

Asked of every function of `ssltok.losses` that takes a mask, codes, labels or validity.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from ssltok import losses

MASK = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
VALID = torch.tensor([[1, 1, 0, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], dtype=torch.bool)
CODES = torch.tensor([[2, 1, -1, 4, 0], [1, 1, 1, 1, 1], [0, 3, 2, -1, -7]])
NEXT = torch.tensor([[1, 0, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], dtype=torch.bool)


class Case(NamedTuple):
    function: Callable[..., Tensor]
    draw: Callable[[torch.Generator], list[Tensor]]
    counts: list[Tensor]  # for each input, which rows do


def normal(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randn(shape, generator=generator)


def of(*parts: Callable[[torch.Generator], Tensor]) -> Callable[[torch.Generator], list[Tensor]]:
    return lambda generator: [part(generator) for part in parts]


TOKENS = normal(3, 5, 6)
ROWS = normal(int(MASK.sum()), 6)
CASES: dict[str, Case] = {
    f"masked_token_loss, {reduction}, {smoothing}": Case(
        lambda z, r=reduction, s=smoothing: losses.masked_token_loss(
            z, CODES, MASK, reduction=r, label_smoothing=s
        ),
        of(TOKENS),
        [MASK & (CODES >= 0)],
    )
    for reduction in ("token", "sequence", "elbo")
    for smoothing in (0.0, 0.2)
}
CASES |= {
    f"masked_token_loss of masked rows, {reduction}": Case(
        lambda z, r=reduction: losses.masked_token_loss(z, CODES, MASK, reduction=r),
        of(ROWS),
        [(CODES >= 0)[MASK]],
    )
    for reduction in ("token", "sequence", "elbo")
}
CASES |= {
    "next_token_loss": Case(lambda z: losses.next_token_loss(z, CODES), of(TOKENS), [NEXT]),
    "ibot_patch_loss": Case(
        lambda s, t: losses.ibot_patch_loss(s, t, MASK),
        of(TOKENS, lambda g: TOKENS(g).softmax(-1)),
        [MASK, MASK],
    ),
    "normalize_over_tokens": Case(
        lambda z: losses.normalize_over_tokens(z, VALID)[VALID].square().sum().sin(),
        of(TOKENS),
        [VALID],
    ),
    "topk_layer_target": Case(
        lambda a, b: losses.topk_layer_target([a, b], VALID, top=2).sin().sum(),
        of(TOKENS, TOKENS),
        [VALID, VALID],
    ),
}
CASES |= {
    f"latent_regression_loss, {beta}": Case(
        lambda p, t, b=beta: losses.latent_regression_loss(p, t, MASK, beta=b),
        of(TOKENS, TOKENS),
        [MASK, MASK],
    )
    for beta in (None, 0.0, 0.7)
}
CASES |= {
    f"masked_reconstruction_loss, {beta}, {normalized}": Case(
        lambda p, t, o=(beta, normalized): losses.masked_reconstruction_loss(
            p, t, MASK, VALID, beta=o[0], normalize_target=o[1]
        ),
        of(TOKENS, TOKENS),
        [MASK & VALID, MASK & VALID],
    )
    for beta in (None, 0.0, 0.7)
    for normalized in (False, True)
}
REAL = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
PLACES = normal(3, 5, 2)
PAIRS = torch.cat([REAL[:, 1:], REAL[:, :1] & False], dim=1)  # with a real token behind them


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def assigned(scores: Tensor, real: Tensor) -> Tensor:
    """Assignments have no gradient, so that only their value is asked."""
    return losses.sinkhorn(scores.transpose(0, 1), real.T, epsilon=0.5).square().sum()


CASES |= {
    "capi_loss": Case(
        lambda s, q: losses.capi_loss(s, q, MASK),
        of(TOKENS, lambda g: TOKENS(g).softmax(-1)),
        [MASK, MASK],
    ),
    "nepa_loss": Case(
        lambda p, e: losses.nepa_loss(p, e, REAL),
        of(TOKENS, TOKENS),
        [PAIRS, torch.cat([REAL[:, :1] & False, REAL[:, 1:]], dim=1)],
    ),
    "lenepa_loss": Case(
        lambda p, e: losses.lenepa_loss(p, e, REAL, slices=4, generator=seeded()),
        of(TOKENS, TOKENS),
        [REAL, REAL],
    ),
    "lenepa_terms": Case(
        lambda p, e: losses.lenepa_terms(p, e, REAL, slices=4, generator=seeded())[1],
        of(TOKENS, TOKENS),
        [REAL, REAL],
    ),
    "cka_loss": Case(
        lambda z, f: losses.cka_loss(z, f, REAL), of(TOKENS, normal(3, 5, 4)), [REAL, REAL]
    ),
    "d_axis_distillation_loss": Case(
        lambda z, f: losses.d_axis_distillation_loss(z, f, REAL), of(TOKENS, TOKENS), [REAL, REAL]
    ),
    "repa_loss": Case(lambda z, f: losses.repa_loss(z, f, REAL), of(TOKENS, TOKENS), [REAL, REAL]),
    "t_axis_distillation_loss": Case(
        lambda z, f: losses.t_axis_distillation_loss(z, f, REAL), of(TOKENS, TOKENS), [REAL, REAL]
    ),
    "vf_loss": Case(lambda z, f: losses.vf_loss(z, f, REAL), of(TOKENS, TOKENS), [REAL, REAL]),
    "vf_terms": Case(lambda z, f: losses.vf_terms(z, f, REAL)[0], of(TOKENS, TOKENS), [REAL, REAL]),
    "vicregl_loss": Case(
        lambda a, b, p, q: losses.vicregl_loss(a, b, p, q, REAL, VALID, matches=3),
        of(TOKENS, TOKENS, PLACES, PLACES),
        [REAL, VALID, REAL, VALID],
    ),
    "vicregl_terms": Case(
        lambda a, b, p, q: losses.vicregl_terms(a, b, p, q, VALID, REAL, matches=2)[1],
        of(TOKENS, TOKENS, PLACES, PLACES),
        [VALID, REAL, VALID, REAL],
    ),
    "sinkhorn": Case(lambda z: assigned(z, REAL), of(TOKENS), [REAL]),
}
CASES |= {
    f"gram_anchoring_loss, {clip}": Case(
        lambda z, f, c=clip: losses.gram_anchoring_loss(z, f, REAL, clip_negative=c),
        of(TOKENS, normal(3, 5, 4)),
        [REAL, REAL],
    )
    for clip in (False, True)
}
WORDS = {"mask", "valid", "valid_a", "valid_b", "codes", "labels"}
ALL_COUNT = {  # a row without a label is a negative of all others
    "label_pairs", "labelled_nt_xent_loss", "multi_similarity_loss", "multi_similarity_pairs",
    "supcon_loss",
}  # fmt: skip


def gradients(case: Case, inputs: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = case.function(*leaves)
    if not value.requires_grad:
        return value, []
    found = torch.autograd.grad(value, leaves, materialize_grads=True, allow_unused=True)
    return value.detach(), list(found)


def test_every_function_that_leaves_something_out_is_asked() -> None:
    names = {
        name
        for name in losses.__all__
        if inspect.isfunction(getattr(losses, name))
        and WORDS & set(inspect.signature(getattr(losses, name)).parameters)
    }
    assert {name.split(",")[0].split(" ")[0] for name in CASES} == names - ALL_COUNT


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf, 1e38])
@pytest.mark.parametrize("name", CASES)
def test_it_changes_neither_value_nor_gradient(name: str, poison: float) -> None:
    case = CASES[name]
    inputs = case.draw(torch.Generator().manual_seed(0))
    expected, slopes = gradients(case, inputs)
    for place, counts in enumerate(case.counts):
        assert not counts.all()
        for columns in (slice(None), slice(0, 1)):
            changed = [x.clone() for x in inputs]
            there = torch.zeros_like(changed[place], dtype=torch.bool)
            there[..., columns] = ~counts.unsqueeze(-1)
            changed[place][there] = poison
            value, found = gradients(case, changed)
            assert torch.equal(value, expected)
            for index, (gradient, slope) in enumerate(zip(found, slopes, strict=True)):
                assert torch.equal(gradient, slope), index
            if found:
                assert not found[place][~counts].any()


@pytest.mark.parametrize("name", CASES)
def test_second_derivatives_are_not_poisoned_either(name: str) -> None:
    case = CASES[name]
    inputs = [x.double() for x in case.draw(torch.Generator().manual_seed(0))]
    seconds = []
    for poison in (0.0, torch.nan):
        leaf = inputs[0].masked_fill(~case.counts[0].unsqueeze(-1), poison).requires_grad_()
        value = case.function(leaf, *inputs[1:])
        if not value.requires_grad:
            return
        (slope,) = torch.autograd.grad(value, leaf, create_graph=True)
        (second,) = torch.autograd.grad(
            slope.square().sum(), leaf, materialize_grads=True, allow_unused=True
        )
        seconds.append(second)
    assert torch.equal(*seconds)


def test_a_code_of_any_negative_number_is_padding_in_both_token_losses() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 6, generator=generator)
    padded = torch.where(CODES < 0, -1, CODES)
    hugging = torch.where(CODES < 0, -100, CODES)
    every = torch.ones_like(MASK)
    shifted = torch.cat([CODES[:, 1:], torch.full((3, 1), -1)], dim=1)
    for loss in (
        losses.next_token_loss,
        lambda z, c: losses.masked_token_loss(z, c, every),
    ):
        assert torch.equal(loss(logits, hugging), loss(logits, padded))
        assert torch.equal(loss(logits, CODES), loss(logits, padded))
    torch.testing.assert_close(
        losses.next_token_loss(logits, CODES), losses.masked_token_loss(logits, shifted, every)
    )
    for loss in (losses.next_token_loss, partial(masked, every)):
        with pytest.raises(IndexError, match="out of bounds"):
            loss(logits, CODES + 6)


def masked(mask: Tensor, logits: Tensor, codes: Tensor, **options: Any) -> Tensor:
    return losses.masked_token_loss(logits, codes, mask, **options)


# --- probabilities of 0 -----------------------------------------------------------------------


def test_a_class_that_the_teacher_rules_out_costs_nothing() -> None:
    """0 log 0 is 0: the same as without the class, but for the student's share of it."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    teacher = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    teacher[0, 1] = teacher[2, 4] = -torch.inf
    limit = teacher.masked_fill(teacher.isinf(), -1e4)
    results = []
    for logits in (teacher, limit):
        leaf = student.clone().requires_grad_()
        value = losses.distillation_loss(leaf, logits, temperature=2.0)
        results.append((value.detach(), torch.autograd.grad(value, leaf)[0]))
    torch.testing.assert_close(*results)
    both = student.masked_fill(teacher.isinf(), -torch.inf).requires_grad_()  # ruled out by both
    value = losses.distillation_loss(both, teacher, temperature=2.0)
    (slope,) = torch.autograd.grad(value, both)
    assert value.isfinite()
    assert slope.isfinite().all()


# --- rows of another number -------------------------------------------------------------------


@pytest.mark.parametrize("rows", [7, 9, 0])
def test_rows_must_be_as_many_as_are_masked(rows: int) -> None:
    """More or fewer would be weighted as if they were of other series."""
    student = torch.randn(rows, 6)
    with pytest.raises(
        ValueError,
        match=rf"^ibot_patch_loss: student must have a row for each masked token; got {rows} rows "
        r"for 8 masked tokens$",
    ):
        losses.ibot_patch_loss(student, student.softmax(-1), MASK)


def test_on_a_device_other_rows_cost_nan() -> None:
    """The device is not waited for; the graph of a compiler takes the same way."""
    compiled = torch.compile(losses.ibot_patch_loss, backend="eager", fullgraph=True)
    for rows, finite in ((8, True), (7, False), (9, False)):
        student = torch.randn(rows, 6, generator=torch.Generator().manual_seed(rows))
        value = compiled(student, student.softmax(-1), MASK)
        assert bool(value.isfinite()) is finite
        if finite:
            expected = losses.ibot_patch_loss(student, student.softmax(-1), MASK)
            torch.testing.assert_close(value, expected)
