"""Methods as their callers run them over ranks: rows stay where they are, only state is shared."""

from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from ssltok.distributed import gather
from ssltok.losses import (
    center_and_sharpen,
    dino_loss,
    info_nce_loss,
    sinkhorn,
    swapped_prediction_loss,
)
from ssltok.state import FeatureQueue, RunningCenter
from tests.losses.laws import normal
from tests.ranks import Ranks


def swav(outputs: Tensor) -> Tensor:
    """Each rank assigns its own rows, with the sums over the columns of all."""
    assignments = sinkhorn(outputs[:2].detach(), epsilon=0.5, gather=gather)
    return swapped_prediction_loss(outputs, assignments, temperature=0.3)


def dino(outputs: Tensor) -> Tensor:
    """The second step, whose centre comes from the outputs of all ranks in the first."""
    center = RunningCenter(outputs.shape[-1], momentum=0.3).double()
    center.update(outputs[:2].detach().flatten(0, 1))
    targets = center_and_sharpen(outputs[:2].detach(), center(), temperature=0.4)
    return dino_loss(outputs, targets, temperature=0.3)


def moco(outputs: Tensor) -> Tensor:
    """The second step, whose queue holds the keys of all ranks from the first."""
    size = outputs.shape[-1]
    queue = FeatureQueue(9, size, generator=torch.Generator().manual_seed(0)).double()
    queue.update(gather(outputs[1].detach()))
    return info_nce_loss(outputs[0], outputs[2], queue(), temperature=0.3)


def on_rank(
    method: Callable[[Tensor], Tensor], views: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    live = weight.clone().requires_grad_()
    loss = method(views @ live)
    (gradient,) = torch.autograd.grad(loss, live)
    packed = torch.cat([loss.detach().reshape(1), gradient.flatten()])
    if dist.is_initialized():  # DDP: the mean over ranks
        dist.all_reduce(packed)
        packed /= dist.get_world_size()
    return packed[0], packed[1:]


@pytest.mark.parametrize("method", [swav, dino, moco], ids=lambda m: m.__name__)
def test_the_mean_over_ranks_is_the_whole_batch(
    method: Callable[[Tensor], Tensor], two_ranks: Ranks
) -> None:
    generator = torch.Generator().manual_seed(3)
    views, weight = normal(generator, 3, 8, 5), normal(generator, 5, 6)
    views[:, :4] += 1  # the ranks differ
    value, gradient = on_rank(method, views, weight)
    shares = [(method, views[:, :4], weight), (method, views[:, 4:], weight)]
    for got, got_gradient in two_ranks.run(on_rank, *shares):
        torch.testing.assert_close(got, value, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(got_gradient, gradient, rtol=1e-11, atol=1e-12)
