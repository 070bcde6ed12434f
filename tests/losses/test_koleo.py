"""KoLeo against its definition, row by row, and against published values."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok.losses import koleo_loss
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def oracle(z: Tensor, *, eps: float) -> Tensor:
    rows = [row / max((row @ row).item() ** 0.5, eps) for row in z.detach()]
    live = z / z.square().sum(1, keepdim=True).sqrt()
    terms = []
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i]
        nearest = max(others, key=lambda j: (rows[i] @ rows[j]).item())
        distance = ((live[i] - live[nearest] + eps) ** 2).sum() ** 0.5
        terms.append(-(distance + eps).log())
    return torch.stack(terms).mean()


def rows(batch: int, dim: int, generator: torch.Generator) -> tuple[Tensor]:
    return (3 * torch.randn(batch, dim, generator=generator, dtype=torch.float64) + 0.5,)


PARITY = [
    Parity(
        "koleo_loss",
        f"Oquab et al. 2023, section 4, {batch} rows, eps {eps}",
        partial(koleo_loss, eps=eps),
        partial(oracle, eps=eps),
        partial(rows, batch, dim),
    )
    for batch, dim, eps in [(7, 3, 1e-8), (2, 5, 1e-8), (9, 2, 0.05)]
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("small", [0, 2**16])
@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_authors(
    case: Parity, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As large inputs are treated, and as small ones."""
    monkeypatch.setattr(sizes, "FEW_NUMBERS", small)
    assert_parity(case)


def test_two_ranks_are_the_whole_batch(two_ranks: Ranks) -> None:
    inputs = rows(7, 4, torch.Generator().manual_seed(0))
    assert_ranks_agree(two_ranks, koleo_loss, *inputs, cut=2)


# --- known values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("z", "value"),
    [
        ([[1.0, 0.0], [-1.0, 0.0]], -math.log(2)),  # the authors' code takes a row for its own
        ([[2.0, 0.0], [0.0, 0.1]], -math.log(math.sqrt(2))),
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], -math.log(math.sqrt(2))),
        ([[1.0, 0.0], [1.0, 0.0]], -math.log(1e-8 * math.sqrt(2) + 1e-8)),  # a pair of equal rows
    ],
)
def test_known_values(z: list[list[float]], value: float) -> None:
    assert koleo_loss(torch.tensor(z, dtype=torch.float64)).item() == pytest.approx(value)


# --- laws -----------------------------------------------------------------------------------


def test_scale_of_a_row_changes_nothing() -> None:
    (z,) = rows(5, 3, torch.Generator().manual_seed(0))
    scale = torch.tensor([[1e-4], [1.0], [1e4], [3.0], [0.1]], dtype=torch.float64)
    torch.testing.assert_close(koleo_loss(scale * z), koleo_loss(z))


def test_a_near_duplicate_keeps_its_digits_in_float32() -> None:
    """From the cosine alone, `sqrt(2 - 2 cos)`, it would come out 3 % wrong."""
    z = torch.tensor([[1.0, 0.0], [1.0, 1e-4], [0.0, 1.0]])
    expected = -(2 * math.log(1e-4) + math.log(math.sqrt(2 - 2e-4))) / 3
    assert koleo_loss(z).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("small", [0, 2**16])
def test_gradients_are_right(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "FEW_NUMBERS", small)
    (z,) = rows(5, 3, torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(koleo_loss, z.requires_grad_())
    assert torch.autograd.gradgradcheck(koleo_loss, z)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo's
def test_the_form_of_large_inputs_vmaps_and_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "FEW_NUMBERS", 0)
    stacked = torch.stack([rows(5, 3, torch.Generator().manual_seed(s))[0] for s in range(2)])
    slopes, values = torch.func.vmap(torch.func.grad_and_value(koleo_loss))(stacked)
    compiled = torch.compile(koleo_loss, fullgraph=True, backend="aot_eager")
    for z, slope, value in zip(stacked, slopes, values, strict=True):
        z = z.clone().requires_grad_()
        torch.testing.assert_close(value, oracle(z, eps=1e-8).detach())
        (expected,) = torch.autograd.grad(oracle(z, eps=1e-8), z)
        torch.testing.assert_close(slope, expected)
        torch.testing.assert_close(torch.autograd.grad(compiled(z), z)[0], expected)


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("z", "eps", "said"),
    [
        (torch.zeros(1, 3), 1e-8, r"^koleo_loss: batch must be >= 2; got 1$"),
        (torch.zeros(3), 1e-8, r"^koleo_loss: z must be \(batch, dim\); got shape \(3,\)$"),
        (torch.zeros(3, 2).int(), 1e-8, r"^koleo_loss: z must be floating point; got torch.int32$"),
        (torch.zeros(3, 2), 0.0, r"^koleo_loss: eps must be > 0; got 0.0$"),
    ],
)
def test_bad_input_is_refused(z: Tensor, eps: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        koleo_loss(z, eps=eps)
