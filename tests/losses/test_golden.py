"""Numbers that nobody on this project wrote: other packages' tests took them from authors' code.

The closed forms among them stand in the test of each loss; those of schedules in `tests/optim`.
"""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ssltok.distributed import gather
from ssltok.losses import (
    center_and_sharpen,
    dino_loss,
    ibot_patch_loss,
    koleo_loss,
    nt_xent_loss,
    vicreg_loss,
)
from ssltok.state import RunningCenter
from tests.ranks import Ranks

# --- KoLeo, from DINOv2's code --------------------------------------------------------------


@pytest.mark.parametrize(
    ("z", "value"),
    [
        # The authors' value of one row, its own neighbour; here, of two equal ones.
        ([[1.0], [1.0]], 17.7275),
        ([[0.0, 1.0], [0.0, -1.0]], -math.log(2)),
        ([[0.0, 1.0], [1.0, 0.0]], -math.log(2**0.5)),
        ([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [-1.0, -1.0]], 0.2674),
    ],
)
def test_koleo(z: list[list[float]], value: float) -> None:
    assert koleo_loss(torch.tensor(z)).item() == pytest.approx(value, rel=1e-4)


# --- iBOT, from DINOv2's code ---------------------------------------------------------------


def test_ibot_and_its_centre() -> None:
    teacher = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    student = torch.tensor([[0.7, 0.8], [0.9, 1.0], [1.1, 1.2]])
    mask = torch.tensor(
        [[True, False, True, False], [False, False, False, True], [False, False, False, False]]
    )
    center = RunningCenter(2)
    probs = center_and_sharpen(teacher, center(), temperature=0.1)
    loss = ibot_patch_loss(student, probs, mask, temperature=0.2)
    center.update(teacher)
    assert loss.item() == pytest.approx(0.4057, rel=1e-4)
    torch.testing.assert_close(center(), torch.tensor([0.03, 0.04]))


# --- DINO: loss, centre and parameters after a step -----------------------------------------


def authors_step(
    weight: Tensor, views: Tensor, center: Tensor, temperatures: tuple[float, float], kept: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The published class on one linear layer, whose teacher is the layer itself."""
    at_student, at_teacher = temperatures
    live = weight.clone().requires_grad_()
    teachers = [functional.softmax((v @ weight - center) / at_teacher, dim=-1) for v in views[:2]]
    terms = [
        torch.sum(-q * functional.log_softmax(v @ live / at_student, dim=-1), dim=-1).mean()
        for t, q in enumerate(teachers)
        for s, v in enumerate(views)
        if s != t
    ]
    loss = torch.stack(terms).sum() / len(terms)
    (slope,) = torch.autograd.grad(loss, live)
    moved = center * kept + torch.cat([v @ weight for v in views[:2]]).mean(0) * (1 - kept)
    return loss.detach(), moved, weight - 0.1 * slope


@pytest.mark.parametrize("count", [2, 3, 10])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("temperatures", [(0.1, 0.04), (0.2, 0.07)])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.0])
def test_dino_after_a_step(
    count: int, batch: int, temperatures: tuple[float, float], kept: float
) -> None:
    generator = torch.Generator().manual_seed(count)
    views = torch.randn(count, batch, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    center = RunningCenter(6, momentum=kept).double()
    theirs, moved = weight, torch.zeros(6, dtype=torch.float64)
    ours = torch.nn.Parameter(weight.clone())
    optimizer = torch.optim.SGD([ours], lr=0.1)
    for _ in range(2):  # the second step has a centre that is not 0
        expected, moved, theirs = authors_step(theirs, views, moved, temperatures, kept)
        outputs = views @ ours
        targets = center_and_sharpen(outputs[:2], center(), temperature=temperatures[1])
        loss = dino_loss(outputs, targets, temperature=temperatures[0])
        optimizer.zero_grad()
        loss.backward()
        center.update(outputs[:2].detach().flatten(0, 1))
        optimizer.step()
        torch.testing.assert_close(loss.detach(), expected)
        torch.testing.assert_close(center(), moved)
        torch.testing.assert_close(ours.detach(), theirs)


# --- NT-Xent and VICReg after ten steps, on one process and on two --------------------------


def nt_xent(x: Tensor, y: Tensor) -> Tensor:
    return nt_xent_loss(x, y, temperature=0.5)


def vicreg(x: Tensor, y: Tensor) -> Tensor:
    return vicreg_loss(x, y, variance_weight=12.5)


WEIGHTS = {
    "nt_xent": [0.1675, 0.2676, 0.3678, 0.4679, 0.5680, 0.5763, 0.6742, 0.7721, 0.8700, 0.9679],
    "vicreg": [
        -0.2382, -0.1381, -0.0381, 0.0619, 0.1620, -0.0494, 0.0505, 0.1504, 0.2503, 0.3503
    ],
}  # fmt: skip
RATES = {"nt_xent": 0.1, "vicreg": 1e-8}


def ten_steps(name: str, start: int, end: int) -> Tensor:
    """A layer of five features to two, which each rank trains on its rows of eight."""
    loss = {"nt_xent": nt_xent, "vicreg": vicreg}[name]
    layer = torch.nn.Linear(5, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(1, 11).reshape(2, 5) / 10)
    model: torch.nn.Module = layer
    if torch.distributed.is_initialized():
        model = torch.nn.parallel.DistributedDataParallel(layer)
    xs = torch.arange(80.0).reshape(8, 2, 5)[start:end]
    ys = torch.arange(32.0).reshape(8, 4)[start:end]
    optimizer = torch.optim.SGD(layer.parameters(), lr=RATES[name])
    for _ in range(10):
        optimizer.zero_grad()
        loss(gather(model(xs).flatten(1)), gather(ys)).backward()
        optimizer.step()
    return layer.weight.detach()


@pytest.mark.parametrize("name", ["nt_xent", "vicreg"])
def test_weights_after_ten_steps(name: str, two_ranks: Ranks) -> None:
    expected = torch.tensor(WEIGHTS[name]).reshape(2, 5)
    torch.testing.assert_close(ten_steps(name, 0, 8), expected, rtol=1e-3, atol=1e-4)
    for weight in two_ranks.run(ten_steps, (name, 0, 4), (name, 4, 8)):
        torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-4)
    for weight in two_ranks.run(ten_steps, (name, 0, 3), (name, 3, 8)):
        torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-4)
