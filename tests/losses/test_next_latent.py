"""NEPA and LeNEPA, which predict the next embedding, against their formulas written out."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok.losses import LeNEPALoss, lenepa_loss, lenepa_terms, nepa_loss
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree, value_and_gradients
from tests.ranks import Ranks


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def lenepa(*inputs: Tensor, **options: Any) -> Tensor:
    """The loss along the directions of one seed."""
    return lenepa_loss(*inputs, **options, generator=seeded())


def nepa_oracle(pred: Tensor, embeddings: Tensor, valid: Tensor | None = None) -> Tensor:
    """Pair by pair."""
    cosines = []
    for b in range(len(pred)):
        for t in range(pred.shape[1] - 1):
            if valid is None or (valid[b, t] and valid[b, t + 1]):
                p, e = pred[b, t], embeddings[b, t + 1].detach()
                cosines.append((p @ e) / ((p @ p) * (e @ e)) ** 0.5)
    return -sum(cosines) / len(cosines)  # type: ignore[return-value]


def lenepa_oracle(
    pred: Tensor,
    embeddings: Tensor,
    valid: Tensor | None = None,
    *,
    gaussian_weight: float = 20.0,
    slices: int,
    points: int = 17,
    limit: float = 3.0,
) -> Tensor:
    """Pair by pair, then slice by slice of each series, with complex numbers over [-T, T]."""
    errors = []
    drawn = torch.randn(pred.shape[2], slices, generator=seeded()).to(pred.dtype).T
    t = torch.linspace(-limit, limit, 2 * points - 1, dtype=pred.dtype)
    gauss = torch.exp(-(t**2) / 2)
    gaussian = []
    for b in range(len(pred)):
        real = [i for i in range(pred.shape[1]) if valid is None or valid[b, i]]
        errors += [(pred[b, i] - embeddings[b, i + 1]).square() for i in real if i + 1 in real]
        for side in (pred, embeddings):
            for line in drawn:
                projected = side[b, real] @ (line / (line @ line) ** 0.5)
                empirical = torch.exp(1j * t[:, None] * projected).mean(1)
                if real:
                    error = (empirical - gauss).abs() ** 2 * gauss
                    gaussian.append(torch.trapezoid(error, t))
    return torch.stack(errors).mean() + gaussian_weight * torch.stack(gaussian).mean()


def pair(batch: int, tokens: int, dim: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    scale = torch.linspace(0.4, 1.6, dim, dtype=torch.float64)
    e = torch.randn(batch, tokens, dim, generator=generator, dtype=torch.float64).cumsum(1)
    p = 0.5 * e.roll(-1, 1) + torch.randn(e.shape, generator=generator, dtype=torch.float64)
    return scale * p, scale * e - 0.3


VALID = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"slices": 5}, "the authors' nodes and weight"),
    ({"gaussian_weight": 2.5, "slices": 4, "points": 9, "limit": 5.0}, "others"),
]
PARITY = [
    Parity("nepa_loss", "Xu et al. 2025", nepa_loss, nepa_oracle, partial(pair, 3, 5, 4)),
    Parity("nepa_loss", "Xu et al. 2025, ragged", partial(nepa_loss, valid=VALID),
           partial(nepa_oracle, valid=VALID), partial(pair, 4, 5, 4)),
    *[
        Parity(
            "lenepa_loss", f"Chemeris et al. 2026, {name}{', ragged' * ragged}",
            partial(lenepa, valid=VALID if ragged else None, **options),
            partial(lenepa_oracle, valid=VALID if ragged else None, **options),
            partial(pair, 4, 5, 3),
        )
        for options, name in OPTIONS
        for ragged in (False, True)
    ],
]  # fmt: skip


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: f"{c.name}: {c.source}")
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


@pytest.mark.parametrize("loss", [nepa_loss, partial(lenepa, slices=6)], ids=["nepa", "lenepa"])
@pytest.mark.parametrize("cut", [0, 2])
@pytest.mark.parametrize("ragged", [False, True])
def test_two_ranks_are_the_whole_batch(loss: Any, cut: int, ragged: bool, two_ranks: Ranks) -> None:
    inputs = pair(4, 5, 3, torch.Generator().manual_seed(0))
    assert_ranks_agree(two_ranks, loss, *inputs, *[VALID] * ragged, cut=cut)


# --- known values ---------------------------------------------------------------------------


def test_a_prediction_that_is_right() -> None:
    _, steps = pair(3, 6, 4, torch.Generator().manual_seed(1))
    ahead = steps.roll(-1, 1)
    assert nepa_loss(3 * ahead, steps).item() == pytest.approx(-1)
    assert nepa_loss(-ahead, steps).item() == pytest.approx(1)
    assert lenepa_terms(ahead, steps).prediction == 0


def test_latents_that_stand_still_cost_what_the_docstring_says() -> None:
    still = torch.zeros(2, 7, 3, dtype=torch.float64)
    t = torch.linspace(-3, 3, 33, dtype=torch.float64)
    g = torch.exp(-(t**2) / 2)
    expected = torch.trapezoid((1 - g) ** 2 * g, t).item()
    assert lenepa_terms(still, still).gaussian.item() == pytest.approx(expected)
    assert expected == pytest.approx(0.40, abs=0.005)
    wide = torch.randn(2, 4096, 3, generator=seeded(), dtype=torch.float64)
    assert lenepa_terms(wide, wide).gaussian.item() == pytest.approx(1.06 / 4096, rel=0.3)


def test_both_sides_of_lenepa_get_a_gradient_and_one_of_nepa() -> None:
    inputs = pair(3, 5, 4, torch.Generator().manual_seed(1))
    for loss, sides in ((nepa_loss, 1), (lenepa, 2)):
        _, slopes = value_and_gradients(loss, inputs)
        assert [bool(slope.any()) for slope in slopes] == [True, sides == 2]
    _, slopes = value_and_gradients(partial(lenepa, gaussian_weight=0.0), inputs)
    torch.testing.assert_close(slopes[0][:, :-1], -slopes[1][:, 1:])
    assert not slopes[0][:, -1].any()
    assert not slopes[1][:, 0].any()


# --- laws -----------------------------------------------------------------------------------


def test_nothing_that_counts_costs_nothing() -> None:
    inputs = pair(2, 3, 4, torch.Generator().manual_seed(1))
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    for loss in (nepa_loss, lenepa):
        value, slopes = value_and_gradients(partial(loss, valid=nothing), inputs)
        assert value == 0
        assert not any(slope.any() for slope in slopes)


def test_all_valid_is_as_none() -> None:
    inputs = pair(4, 5, 3, torch.Generator().manual_seed(1))
    for loss in (nepa_loss, partial(lenepa, slices=6)):
        whole = value_and_gradients(loss, inputs)
        torch.testing.assert_close(
            value_and_gradients(partial(loss, valid=torch.ones(4, 5).bool()), inputs), whole
        )


def test_randomness_comes_from_the_generator_only() -> None:
    inputs = pair(3, 5, 4, torch.Generator().manual_seed(1))
    state = torch.get_rng_state()
    first = lenepa_loss(*inputs, slices=3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(state, torch.get_rng_state())
    module = LeNEPALoss(slices=3)
    assert torch.equal(module(*inputs, generator=torch.Generator().manual_seed(1)), first)
    assert not torch.equal(module(*inputs, generator=torch.Generator().manual_seed(2)), first)


@pytest.mark.parametrize("valid", [None, VALID])
def test_second_derivatives(valid: Tensor | None) -> None:
    inputs = [x.requires_grad_() for x in pair(4, 5, 2, torch.Generator().manual_seed(0))]
    few = partial(lenepa, valid=valid, slices=2, points=3)
    assert torch.autograd.gradcheck(few, inputs)
    assert torch.autograd.gradgradcheck(few, inputs)


@pytest.mark.parametrize("valid", [False, True])
def test_derivatives_of_a_batch_of_batches(valid: bool) -> None:
    many = [pair(4, 5, 3, torch.Generator().manual_seed(s)) for s in range(2)]
    stacked = [torch.stack(column) for column in zip(*many, strict=True)]
    masks = (VALID,) * valid
    torch.manual_seed(0)
    mapped = torch.func.vmap(
        torch.func.grad(partial(lenepa_loss, slices=3)),
        in_dims=(0, 0, *(None,) * valid), randomness="same",
    )(*stacked, *masks)  # fmt: skip
    for inputs, slope in zip(many, mapped, strict=True):
        torch.manual_seed(0)
        _, expected = value_and_gradients(lambda *x: lenepa_loss(*x, *masks, slices=3), inputs)
        torch.testing.assert_close(slope, expected[0])


def test_digits_at_unequal_scales() -> None:
    p, e = pair(4, 6, 5, torch.Generator().manual_seed(6))
    scales = torch.logspace(0, 4, 5, dtype=torch.float64)
    narrow = tuple((scales * x).float() for x in (p, e))
    wide = tuple(x.double() for x in narrow)
    for loss in (nepa_loss, partial(lenepa, gaussian_weight=0.0)):
        value, slopes = value_and_gradients(loss, narrow)
        expected, exact = value_and_gradients(loss, wide)
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)
        for got, wanted in zip(slopes, exact, strict=True):
            error = (got.double() - wanted).abs().amax(dim=(0, 1))
            assert (error <= 1e-5 * wanted.abs().amax(dim=(0, 1)) + 1e-12).all()


def test_meta() -> None:
    tokens, valid = torch.zeros(4, 5, 3, device="meta"), torch.ones(4, 5, device="meta").bool()
    assert nepa_loss(tokens, tokens, valid).shape == ()
    assert lenepa_loss(tokens, tokens, valid).shape == ()


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [nepa_loss, lenepa_loss])
def test_bad_input_is_refused(loss: Any) -> None:
    z, who = torch.zeros(2, 3, 4), loss.__name__
    for inputs, said in [
        ((z, z[..., 1:]), "pred and embeddings must share one shape; got"),
        ((z[0], z[0]), r"pred must be \(batch, tokens, dim\); got shape \(3, 4\)"),
        ((z[:, :1], z[:, :1]), "tokens must be >= 2; got 1"),
        ((z[:0], z[:0]), r"pred.numel\(\) must be >= 1; got 0"),
        ((z, z, torch.ones(2, 4).bool()), r"valid must have shape \(2, 3\); got \(2, 4\)"),
        ((z, z, torch.ones(2, 3)), "valid must be boolean; got torch.float32"),
    ]:
        with pytest.raises(ValueError, match=f"^{who}: {said}"):
            loss(*inputs)
    wrong: list[tuple[str, Any]] = [("slices", 0), ("points", 1), ("limit", 0.0)]
    for option, value in wrong:
        with pytest.raises(ValueError, match=f"^lenepa_loss: {option} must be"):
            lenepa_loss(z, z, **{option: value})
