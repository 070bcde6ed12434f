"""SupCon against equation 2, anchor by anchor."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok.losses import supcon_loss
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def oracle(z: Tensor, labels: Tensor, *, temperature: float, scale: float = 1.0) -> Tensor:
    """The sum over positives outside the log; anchors without one stay in the mean as 0."""
    rows = [row / row.square().sum() ** 0.5 for row in z]
    total = torch.zeros((), dtype=z.dtype)
    for i, anchor in enumerate(rows):
        others = [a for a in range(len(rows)) if a != i]
        positives = [p for p in others if labels[p] == labels[i] and labels[i] != -1]
        if not positives:
            continue
        denominator = sum((anchor @ rows[a] / temperature).exp() for a in others)
        for p in positives:
            share = (anchor @ rows[p] / temperature).exp() / denominator
            total = total - share.log() / len(positives)
    return scale * total / len(rows)


def labelled(labels: list[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    y = torch.tensor(labels)
    z = torch.randn(len(labels), 4, generator=generator, dtype=torch.float64)
    return 3 * z + y[:, None], y


PARITY = [
    Parity(
        "supcon_loss",
        f"Khosla et al. 2020, equation 2, {name}",
        partial(supcon_loss, temperature=temperature, base_temperature=base),
        partial(oracle, temperature=temperature, scale=1 if base is None else temperature / base),
        partial(labelled, labels),
    )
    for labels, temperature, base, name in [
        ([0, 1, 0, 2, 1, 0, 2], 0.1, None, "every anchor has a positive"),
        ([0, 5, 0, 2, -1, 0, -1], 0.3, None, "lonely and unlabelled anchors"),
        ([1, 1, 0, 0, 1], 0.1, 0.07, "the authors' base temperature"),
    ]
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


def test_two_ranks_are_the_whole_batch(two_ranks: Ranks) -> None:
    inputs = labelled([0, 1, 0, 2, 1, 0, 2], torch.Generator().manual_seed(0))
    assert_ranks_agree(two_ranks, supcon_loss, *inputs, cut=2)


# --- known values ---------------------------------------------------------------------------


def test_rows_all_alike_cost_the_log_of_the_others() -> None:
    z = torch.full((6, 3), 2.0, dtype=torch.float64)
    value = supcon_loss(z, torch.tensor([0, 0, 1, 1, 1, 0])).item()
    assert value == pytest.approx(math.log(5))


def test_the_denominator_holds_positives_too() -> None:
    """Three equal rows of one class and nothing else: log 2, not 0."""
    z = torch.ones(3, 2, dtype=torch.float64)
    assert supcon_loss(z, torch.zeros(3, dtype=torch.int64)).item() == pytest.approx(math.log(2))


def test_no_positive_at_all_costs_nothing() -> None:
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for labels in (torch.arange(4), torch.full((4,), -1)):
        loss = supcon_loss(z, labels)
        assert loss.item() == 0
        assert torch.equal(torch.autograd.grad(loss, z)[0], torch.zeros(4, 3))


def test_the_default_temperature_is_the_authors() -> None:
    z, labels = labelled([0, 1, 0, 1], torch.Generator().manual_seed(0))
    torch.testing.assert_close(supcon_loss(z, labels), oracle(z, labels, temperature=0.07))


# --- laws -----------------------------------------------------------------------------------


def test_names_of_labels_do_not_matter() -> None:
    z, labels = labelled([0, 1, 0, 2, 1], torch.Generator().manual_seed(0))
    renamed = torch.tensor([70, 3, 70, 12, 3])
    assert torch.equal(supcon_loss(z, renamed), supcon_loss(z, labels))


def test_gradients_are_right() -> None:
    z, labels = labelled([0, 1, 0, 2, 1], torch.Generator().manual_seed(0))
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: supcon_loss(x, labels), z)
    assert torch.autograd.gradgradcheck(lambda x: supcon_loss(x, labels), z)


# --- complaints -----------------------------------------------------------------------------

Y = torch.zeros(4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("z", "labels", "options", "said"),
    [
        (torch.zeros(4), Y, {}, r"^supcon_loss: z must be \(batch, dim\); got shape \(4,\)$"),
        (torch.zeros(4, 2), Y[:3], {}, r"^supcon_loss: labels must have size 4 in dimension 0"),
        (torch.zeros(4, 2), Y[None], {}, r"^supcon_loss: labels must be \(batch,\); got shape"),
        (torch.zeros(4, 2), Y.float(), {}, r"^supcon_loss: labels must be int64; got"),
        (torch.zeros(1, 2), Y[:1], {}, r"^supcon_loss: batch must be >= 2; got 1$"),
        (torch.zeros(4, 2), Y, {"temperature": 0.0}, r"^supcon_loss: temperature must be > 0; got"),
        (
            torch.zeros(4, 2),
            Y,
            {"base_temperature": 0.0},
            r"^supcon_loss: base_temperature must be > 0; got 0.0$",
        ),
    ],
)
def test_bad_input_is_refused(
    z: Tensor, labels: Tensor, options: dict[str, float], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        supcon_loss(z, labels, **options)
