"""NT-Xent against the paper's algorithm, anchor by anchor."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok.losses import nt_xent_loss, supcon_loss
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def oracle(*views: Tensor, temperature: float) -> Tensor:
    """For each anchor and each of its positives: minus the log of the softmax over the rest."""
    rows = [row / row.square().sum() ** 0.5 for view in views for row in view]
    batch, terms = views[0].shape[0], []
    for i, anchor in enumerate(rows):
        total = sum((anchor @ rows[a] / temperature).exp() for a in range(len(rows)) if a != i)
        positives = [p for p in range(len(rows)) if p != i and p % batch == i % batch]
        logs = [((anchor @ rows[p] / temperature).exp() / total).log() for p in positives]
        terms.append(-torch.stack(logs).mean())
    return torch.stack(terms).mean()


def views(count: int, batch: int, dim: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    z = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, batch, dim, generator=generator, dtype=torch.float64)
    return tuple((1 + i) * z + 0.7 * noise[i] for i in range(count))


PARITY = [
    Parity(
        "nt_xent_loss",
        f"Chen et al. 2020, equation 1, {count} views of {batch}, temperature {temperature}",
        partial(nt_xent_loss, temperature=temperature),
        partial(oracle, temperature=temperature),
        partial(views, count, batch, dim),
    )
    for count, batch, dim, temperature in [(2, 5, 3, 0.1), (2, 2, 7, 0.5), (3, 4, 5, 0.3)]
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


@pytest.mark.parametrize("count", [2, 3])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, count: int) -> None:
    inputs = views(count, 7, 4, torch.Generator().manual_seed(0))
    assert_ranks_agree(two_ranks, nt_xent_loss, *inputs, cut=2)


# --- known values ---------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "batch"), [(2, 2), (2, 9), (4, 3)])
def test_rows_all_alike_cost_the_log_of_the_others(count: int, batch: int) -> None:
    z = torch.full((batch, 5), 0.3, dtype=torch.float64)
    assert nt_xent_loss(*[z] * count).item() == pytest.approx(math.log(count * batch - 1))


def test_orthogonal_samples() -> None:
    """Cosine 1 with the positive and 0 with the 2 (n - 1) others."""
    z = torch.eye(4, dtype=torch.float64)
    value = nt_xent_loss(z, 3 * z, temperature=0.5).item()
    assert value == pytest.approx(math.log(math.exp(2) + 6) - 2)


def test_the_default_temperature_is_the_authors() -> None:
    inputs = views(2, 4, 3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(nt_xent_loss(*inputs), oracle(*inputs, temperature=0.1))


# --- laws -----------------------------------------------------------------------------------


def test_it_is_supcon_with_the_sample_as_label() -> None:
    inputs = views(3, 4, 5, torch.Generator().manual_seed(0))
    labels = torch.arange(4).repeat(3)
    torch.testing.assert_close(
        nt_xent_loss(*inputs, temperature=0.2),
        supcon_loss(torch.cat(inputs), labels, temperature=0.2),
    )


def test_scale_of_a_row_changes_nothing() -> None:
    z_a, z_b = views(2, 4, 5, torch.Generator().manual_seed(0))
    scale = torch.tensor([[1e-4], [1.0], [1e4], [3.0]], dtype=torch.float64)
    torch.testing.assert_close(nt_xent_loss(scale * z_a, z_b), nt_xent_loss(z_a, z_b))


def test_the_order_of_views_and_of_samples_changes_nothing() -> None:
    z_a, z_b = views(2, 4, 5, torch.Generator().manual_seed(0))
    before = nt_xent_loss(z_a, z_b)
    torch.testing.assert_close(nt_xent_loss(z_b, z_a), before)
    torch.testing.assert_close(nt_xent_loss(z_a.flip(0), z_b.flip(0)), before)


def test_gradients_are_right() -> None:
    inputs = [z.requires_grad_() for z in views(3, 3, 2, torch.Generator().manual_seed(0))]
    assert torch.autograd.gradcheck(nt_xent_loss, inputs)
    assert torch.autograd.gradgradcheck(nt_xent_loss, inputs)


def test_low_temperature_does_not_overflow() -> None:
    inputs = [z.half() for z in views(2, 4, 5, torch.Generator().manual_seed(0))]
    assert nt_xent_loss(*inputs, temperature=0.005).isfinite()


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "temperature", "said"),
    [
        ([torch.zeros(4, 3)], 0.1, r"^nt_xent_loss: number of views must be >= 2; got 1$"),
        ([torch.zeros(4, 3), torch.zeros(5, 3)], 0.1, r"^nt_xent_loss: the views must share one"),
        ([torch.zeros(4)] * 2, 0.1, r"^nt_xent_loss: each view must be \(batch, dim\); got"),
        ([torch.zeros(1, 3)] * 2, 0.1, r"^nt_xent_loss: batch must be >= 2; got 1$"),
        ([torch.zeros(4, 3)] * 2, 0.0, r"^nt_xent_loss: temperature must be > 0; got 0.0$"),
        ([torch.zeros(4, 3).int()] * 2, 0.1, r"^nt_xent_loss: each view must be floating point"),
    ],
)
def test_bad_input_is_refused(inputs: list[Tensor], temperature: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        nt_xent_loss(*inputs, temperature=temperature)
