"""SwAV's loss against its authors' loop over crops."""

from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok.losses import sinkhorn, swapped_prediction_loss
from tests.losses.laws import normal, probabilities
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def oracle(scores: Tensor, assignments: Tensor, temperature: float = 0.1) -> Tensor:
    """For each assigned crop, the mean over the other crops; then the mean over assigned crops."""
    loss = torch.zeros((), dtype=torch.float64)
    for crop in range(len(assignments)):
        sub = torch.zeros((), dtype=torch.float64)
        for v in range(len(scores)):
            if v != crop:
                x = scores[v] / temperature
                log_p = x - torch.logsumexp(x, 1, keepdim=True)
                sub = sub - (assignments[crop].detach() * log_p).sum(1).mean()
        loss = loss + sub / (len(scores) - 1)
    return loss / len(assignments)


def draw(views: int, assigned: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return normal(generator, views, 5, 7), probabilities(generator, assigned, 5, 7)


PARITY = [
    Parity(
        "swapped_prediction_loss",
        f"Caron et al. 2020, equations 2 and 6, {views} crops, {assigned} assigned",
        partial(swapped_prediction_loss, temperature=temperature),
        partial(oracle, temperature=temperature),
        partial(draw, views, assigned),
    )
    for views, assigned, temperature in [(2, 2, 0.1), (8, 2, 0.3), (3, 1, 0.2)]
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [0, 2**17])
@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_published(
    case: Parity, cache: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Piece by piece, as large inputs are treated, and in one."""
    monkeypatch.setattr(sizes, "CACHED_NUMBERS", cache)
    assert_parity(case)


def of_rows(scores: Tensor) -> Tensor:
    """Assignments of the whole batch for each view, then the loss: as gathered."""
    views = scores.movedim(1, 0)
    assignments = torch.stack([sinkhorn(view.detach(), epsilon=0.5) for view in views[:2]])
    return swapped_prediction_loss(views, assignments, temperature=0.3)


@pytest.mark.parametrize("cut", [3, 1])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, cut: int) -> None:
    scores = normal(torch.Generator().manual_seed(3), 6, 3, 5)
    scores[:cut] += 2
    assert_ranks_agree(two_ranks, of_rows, scores, cut=cut)


# --- known values ---------------------------------------------------------------------------


def test_uniform_prototypes_cost_the_logarithm() -> None:
    assignments = probabilities(torch.Generator().manual_seed(0), 2, 3, 9)
    value = swapped_prediction_loss(torch.zeros(4, 3, 9, dtype=torch.float64), assignments)
    torch.testing.assert_close(value, torch.tensor(9.0, dtype=torch.float64).log())


def test_the_prediction_is_swapped() -> None:
    """A view's own assignment is nothing to it."""
    scores = torch.tensor([[[9.0, 0.0]], [[0.0, 9.0]]])
    own = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert swapped_prediction_loss(scores, own, temperature=1.0).item() > 8.9
    assert swapped_prediction_loss(scores, own.flip(0), temperature=1.0).item() < 1e-3


# --- laws -----------------------------------------------------------------------------------


def test_is_linear_in_assignments_of_any_mass() -> None:
    scores, assignments = draw(3, 2, torch.Generator().manual_seed(1))
    once, thrice = (swapped_prediction_loss(scores, k * assignments) for k in (1, 3))
    torch.testing.assert_close(thrice, 3 * once)
    torch.testing.assert_close(thrice, oracle(scores, 3 * assignments))


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "assignments", "temperature", "said"),
    [
        ((2, 3, 4), (2, 2, 4), 1.0, r"^swapped_prediction_loss: scores must hold two views or mor"),
        ((1, 3, 4), (1, 3, 4), 1.0, r"and assignments the first of them; got \(1, 3, 4\)"),
        ((2, 3, 4), (0, 3, 4), 1.0, r"assignments the first of them; got .* and \(0, 3, 4\)$"),
        (
            (6, 4),
            (2, 3, 4),
            1.0,
            r"scores must be \(views, batch, codebook_size\); got shape \(6, 4",
        ),
        ((2, 3, 4), (2, 3, 4), -1.0, r"temperature must be > 0; got -1.0$"),
    ],
)
def test_bad_input_is_refused(
    scores: tuple[int, ...], assignments: tuple[int, ...], temperature: float, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        swapped_prediction_loss(
            torch.zeros(scores), torch.zeros(assignments), temperature=temperature
        )
