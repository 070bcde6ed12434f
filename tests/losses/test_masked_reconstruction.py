"""Masked reconstruction against MAE's and SimMIM's own sums, patch by patch."""

from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok.losses import masked_reconstruction_loss
from tests.losses.laws import normal
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks

MASK = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.bool)
SAMPLES = torch.arange(5) < torch.tensor([[5, 3, 4, 0], [2, 5, 5, 1], [5, 2, 5, 5]])[..., None]
VALID = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1], [0, 1, 0, 1]], dtype=torch.bool)


def oracle(
    pred: Tensor,
    target: Tensor,
    power: int = 2,
    normalize: bool = False,
    valid: Tensor | None = None,
    samples: Tensor | None = None,
) -> Tensor:
    errors = []
    for b in range(MASK.shape[0]):
        for i in range(MASK.shape[1]):
            if MASK[b, i] and (valid is None or valid[b, i]):
                patch = target[b, i].detach()
                seen = (
                    torch.ones_like(patch, dtype=torch.bool) if samples is None else samples[b, i]
                )
                patch = patch[seen]
                if normalize:
                    mean = patch.sum() / len(patch)
                    variance = ((patch - mean) ** 2).sum() / (len(patch) - 1)
                    patch = (patch - mean) / (variance + 1e-6) ** 0.5
                errors.append(((pred[b, i][seen] - patch).abs() ** power).mean())
    return torch.stack(errors).mean()


def ours(
    pred: Tensor, target: Tensor, beta: float | None = None, normalize: bool = False,
    valid: Tensor | None = None,
) -> Tensor:  # fmt: skip
    return masked_reconstruction_loss(
        pred, target, MASK, valid, beta=beta, normalize_target=normalize
    )


def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return normal(generator, 3, 4, 5), normal(generator, 3, 4, 5, scale=4.0)


PARITY = [
    Parity(
        "masked_reconstruction_loss",
        source,
        partial(ours, beta=beta, normalize=normalize, valid=valid),
        partial(oracle, power=2 if beta is None else 1, normalize=normalize, valid=valid),
        draw,
    )
    for source, beta, normalize, valid in [
        ("He et al. 2022, section 3", None, False, None),
        ("He et al. 2022, normalised patches", None, True, None),
        ("Xie et al. 2022, section 3.4", 0.0, False, None),
        ("padding, absolute error, normalised patches", 0.0, True, VALID),
    ]
]

PARITY += [
    Parity(
        "masked_reconstruction_loss",
        source,
        partial(ours, beta=beta, normalize=normalize, valid=SAMPLES),
        partial(
            oracle,
            power=2 if beta is None else 1,
            normalize=normalize,
            valid=SAMPLES.any(-1),
            samples=SAMPLES,
        ),
        draw,
    )
    for source, beta, normalize in [
        ("samples beyond the end", None, False),
        ("samples beyond the end, absolute error, normalised patches", 0.0, True),
    ]
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_published(case: Parity) -> None:
    assert_parity(case)


def of_rows(pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    return masked_reconstruction_loss(pred, target, mask, normalize_target=True)


@pytest.mark.parametrize("cut", [1, 2])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, cut: int) -> None:
    """The mean is over all masked patches, though one rank may hold more of them, or none."""
    pred, target = draw(torch.Generator().manual_seed(3))
    assert_ranks_agree(two_ranks, of_rows, pred, target, MASK.roll(1, 0), cut=cut)


# --- known values ---------------------------------------------------------------------------


def test_patches_weigh_alike_over_the_whole_batch() -> None:
    pred = torch.zeros(2, 3, 1)
    target = torch.tensor([[[1.0], [1.0], [1.0]], [[3.0], [0.0], [0.0]]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert masked_reconstruction_loss(pred, target, mask).item() == (1 + 1 + 1 + 9) / 4
    assert masked_reconstruction_loss(pred, target, mask, beta=0).item() == (1 + 1 + 1 + 3) / 4
    assert masked_reconstruction_loss(pred, target, mask, beta=2).item() == (3 / 4 + 2) / 4


def test_a_constant_patch_normalises_to_zero() -> None:
    pred, target = torch.full((1, 1, 4), 2.0), torch.full((1, 1, 4), 7.0)
    value = masked_reconstruction_loss(
        pred, target, torch.ones(1, 1, dtype=torch.bool), normalize_target=True
    )
    assert value.item() == pytest.approx(4)


# --- laws -----------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [False, True])
def test_visible_and_padded_patches_cannot_leak(normalize: bool) -> None:
    pred, target = draw(torch.Generator().manual_seed(0))
    want = ours(pred, target, normalize=normalize, valid=VALID)
    counted = MASK & VALID
    pred[~counted], target[~counted] = torch.nan, torch.nan
    pred.requires_grad_()
    value = ours(pred, target, normalize=normalize, valid=VALID)
    (gradient,) = torch.autograd.grad(value, pred)
    assert torch.equal(value, want)
    assert torch.equal(gradient[~counted], torch.zeros_like(gradient[~counted]))


def test_nothing_masked_costs_nothing() -> None:
    pred, target = draw(torch.Generator().manual_seed(0))
    nothing = torch.zeros(3, 4, dtype=torch.bool)
    value = masked_reconstruction_loss(pred.requires_grad_(), target, nothing)
    value.backward()
    assert value == 0
    assert pred.grad is not None
    assert torch.equal(pred.grad, torch.zeros_like(pred))


def test_normalised_targets_ignore_scale_and_shift_of_a_patch() -> None:
    pred, target = draw(torch.Generator().manual_seed(0))
    a, b = (ours(pred, t, normalize=True) for t in (target, 100 * target - 7))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pred", "target", "mask", "said"),
    [
        ((2, 3, 4), (2, 3, 5), (2, 3), r"pred and target must share one shape; got \(2, 3, 4\)"),
        ((2, 3), (2, 3), (2, 3), r"pred must be \(batch, tokens, dim\); got shape \(2, 3\)$"),
        ((2, 3, 4), (2, 3, 4), (2, 4), r"mask must have shape \(2, 3\); got \(2, 4\)$"),
        ((2, 0, 4), (2, 0, 4), (2, 0), r"pred.numel\(\) must be >= 1; got 0$"),
    ],
)
def test_bad_input_is_refused(
    pred: tuple[int, ...], target: tuple[int, ...], mask: tuple[int, ...], said: str
) -> None:
    with pytest.raises(ValueError, match=r"^masked_reconstruction_loss: " + said):
        masked_reconstruction_loss(
            torch.zeros(pred), torch.zeros(target), torch.ones(mask, dtype=torch.bool)
        )


def test_bad_options_are_refused() -> None:
    patches, mask = torch.zeros(1, 2, 1), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"^masked_reconstruction_loss: dim must be >= 2; got 1$"):
        masked_reconstruction_loss(patches, patches, mask, normalize_target=True)
    with pytest.raises(ValueError, match=r"beta must be >= 0; got -0.5$"):
        masked_reconstruction_loss(patches, patches, mask, beta=-0.5)
    with pytest.raises(ValueError, match=r"valid must be boolean; got torch.float32$"):
        masked_reconstruction_loss(patches, patches, mask, torch.ones(1, 2))


def test_samples_beyond_the_end_have_no_error_and_no_part_in_the_target() -> None:
    """A last patch of two samples and three that were appended is as the two samples alone."""
    torch.manual_seed(0)
    pred, target = torch.randn(1, 2, 5), torch.randn(1, 2, 5)
    real = torch.tensor([[[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]]).bool()
    mask = torch.ones(1, 2, dtype=torch.bool)
    expected = masked_reconstruction_loss(
        pred[:, :1, :2], target[:, :1, :2], mask[:, :1], normalize_target=True
    )
    pred[0, 1] = torch.nan
    pred[0, 0, 2:], target[0, 0, 2:] = torch.nan, torch.inf
    leaf = pred.requires_grad_()
    loss = masked_reconstruction_loss(leaf, target, mask, real, normalize_target=True)
    torch.testing.assert_close(loss, expected)
    (grad,) = torch.autograd.grad(loss, leaf)
    assert (grad[~real] == 0).all()
    one = torch.tensor([[[1, 0, 0, 0, 0], [0] * 5]]).bool()
    assert torch.isfinite(
        masked_reconstruction_loss(leaf, target, mask, one, normalize_target=True)
    )
    with pytest.raises(ValueError, match=r"valid must have shape \(1, 2, 5\); got \(1, 2, 4\)"):
        masked_reconstruction_loss(pred, target, mask, real[..., :4])
