"""Every collective over two ranks, one of them without a row: as one process, backward included.

A rank without rows takes part in each collective, on the way forward and on the way back, or the
others wait for ever. The gradient is that of a shared weight, averaged over ranks as DDP does.
"""

from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ssltok.distributed import gather, reduce_mean, reduce_sum
from ssltok.losses import dino_loss, nt_xent_loss, sinkhorn, swapped_prediction_loss, vicreg_loss
from ssltok.quantizers import (
    BSQ,
    LFQ,
    EMAVectorQuantizer,
    GroupedQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
    codebook_entropy_loss,
)
from ssltok.state import FeatureQueue, RunningCenter
from tests.ranks import Ranks

DIM = 4
WORLD = 2


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


CODEBOOK = torch.randn(6, DIM, generator=seeded(3), dtype=torch.float64)


# losses of the rows of this rank: each is the loss of all rows ---------------------------------


def of_gathered(z: Tensor) -> Tensor:
    return gather(z).square().sum().sin()


def of_views(z: Tensor) -> Tensor:
    every = gather(z)
    return nt_xent_loss(every, every.flip(1)) + vicreg_loss(every, every.roll(1, 1))


def of_a_sum(z: Tensor) -> Tensor:
    return reduce_sum(z.square().sum(0)).sin().sum()


def of_a_mean(z: Tensor) -> Tensor:
    return reduce_mean(z.square()).sin().sum()


def of_entropy(z: Tensor) -> Tensor:
    return codebook_entropy_loss(z, CODEBOOK.clone().requires_grad_(), temperature=0.7)


def of_entropy_of_some(z: Tensor) -> Tensor:
    valid = torch.arange(len(z)) % 3 > 0
    return codebook_entropy_loss(z, CODEBOOK, valid, temperature=0.7, diversity_weight=2.0)


def of_bits(z: Tensor) -> Tensor:
    lookup = LFQ(
        DIM, temperature=1.0, entropy_weight=0.5, diversity_weight=0.7, commitment_weight=0.0
    ).double()
    sphere = BSQ(DIM, entropy_weight=0.5, diversity_weight=0.7, commitment_weight=0.0).double()
    loss: Tensor = lookup(z.unsqueeze(1)).loss + sphere(z.unsqueeze(1)).loss
    return loss


def of_targets(z: Tensor) -> Tensor:
    """Assignments over all rows, each rank with its own; the losses' rows are gathered."""
    target = sinkhorn(z, gather=gather)
    views = torch.stack([z, z.roll(1, 1)])
    rows = gather(views.transpose(0, 1)).transpose(0, 1)
    targets = gather(target).unsqueeze(0)
    return swapped_prediction_loss(rows, targets) + dino_loss(rows, targets)


def of_targets_by_view(z: Tensor) -> Tensor:
    target = sinkhorn(torch.stack([z, 2 * z]), gather=gather, iterations=2)
    return (gather(target.transpose(0, 1)) * gather(z).unsqueeze(1)).square().sum()


LOSSES: list[Callable[[Tensor], Tensor]] = [
    of_gathered,
    of_views,
    of_a_sum,
    of_a_mean,
    of_entropy,
    of_entropy_of_some,
    of_bits,
    of_targets,
    of_targets_by_view,
]


def run_loss(loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    theta = torch.eye(DIM, dtype=torch.float64) + 0.1
    theta.requires_grad_()
    value = loss(x @ theta)
    value.backward()  # a rank without rows must have a graph, too
    assert theta.grad is not None
    if dist.is_initialized():
        dist.all_reduce(theta.grad)
        theta.grad /= dist.get_world_size()
    return value.detach(), theta.grad


# updates of state: each is the update by all rows ----------------------------------------------


def center(z: Tensor) -> nn.Module:
    state = RunningCenter(DIM, momentum=0.6).double()
    state.update(z)
    return state


def queue(z: Tensor) -> nn.Module:
    state = FeatureQueue(5, DIM, generator=seeded(4)).double()
    state.update(gather(z))
    return state


def moving_codes(z: Tensor) -> nn.Module:
    state = EMAVectorQuantizer(DIM, 6, generator=seeded(5)).double()
    for _ in range(2):
        state.update(z.unsqueeze(1), state.encode(z.unsqueeze(1)))
    return state


def started_codes(z: Tensor) -> nn.Module:
    state = VectorQuantizer(DIM, 3, generator=seeded(6)).double()
    state.initialize(z.unsqueeze(1), generator=seeded(7))
    return state


def residual_codes(z: Tensor) -> nn.Module:
    levels = [EMAVectorQuantizer(DIM, 3, generator=seeded(8 + level)) for level in (0, 1)]
    state = ResidualQuantizer(levels).double()
    state.initialize(z.unsqueeze(1), generator=seeded(7))
    state.update(z.unsqueeze(1), state.encode(z.unsqueeze(1)))
    return state


def grouped_codes(z: Tensor) -> nn.Module:
    groups = [EMAVectorQuantizer(DIM // 2, 3, generator=seeded(8 + part)) for part in (0, 1)]
    state = GroupedQuantizer(groups).double()
    state.update(z.unsqueeze(1), state.encode(z.unsqueeze(1)))
    return state


UPDATES: list[Callable[[Tensor], nn.Module]] = [
    center,
    queue,
    moving_codes,
    started_codes,
    residual_codes,
    grouped_codes,
]


def run_update(update: Callable[[Tensor], nn.Module], x: Tensor) -> dict[str, Tensor]:
    return update(x).state_dict()


# the law ---------------------------------------------------------------------------------------


def rows() -> Tensor:
    return torch.randn(7, DIM, generator=seeded(1), dtype=torch.float64)


@pytest.fixture(params=[0, 7, 3], ids=["first empty", "second empty", "none empty"], name="parts")
def cut(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    x = rows()
    return x[: request.param], x[request.param :]


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(
    two_ranks: Ranks, loss: Callable[[Tensor], Tensor], parts: tuple[Tensor, Tensor]
) -> None:
    expected, slope = run_loss(loss, rows())
    assert slope.abs().max() > 1e-3
    for value, gradient in two_ranks.run(run_loss, *((loss, part) for part in parts)):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(gradient, slope, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("update", UPDATES)
def test_updates(
    two_ranks: Ranks, update: Callable[[Tensor], nn.Module], parts: tuple[Tensor, Tensor]
) -> None:
    expected = run_update(update, rows())
    for state in two_ranks.run(run_update, *((update, part) for part in parts)):
        assert state.keys() == expected.keys()
        for key, value in state.items():
            torch.testing.assert_close(value, expected[key], rtol=1e-10, atol=1e-10)


def test_sinkhorn_alone_still_wants_rows() -> None:
    with pytest.raises(ValueError, match=r"^sinkhorn: batch must be >= 1; got 0$"):
        sinkhorn(torch.zeros(0, 3))
