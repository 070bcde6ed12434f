"""Each objective on two processes: the loss, gradients and state of one process with all rows.

Norms are in evaluation mode: whether their statistics are shared is the engine's business.
"""

import copy
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ssltok.training import Objective, ObjectiveBatch
from tests.ranks import Ranks
from tests.training.objective_cases import CASES, CHANNELS, LENGTH, built

COUNT, FIRST = 8, 5  # series in all, and on the first process


def whole_batch(objective: nn.Module, *, padded: bool) -> ObjectiveBatch:
    generator = torch.Generator().manual_seed(3)
    assert isinstance(objective, Objective)
    shape = (COUNT, CHANNELS, LENGTH)
    views = tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(objective.views)
    )
    ends = LENGTH - torch.arange(COUNT) * 2
    valid = torch.arange(LENGTH) < ends[:, None] if padded else None
    labels = torch.arange(COUNT) % 3 - 1
    return ObjectiveBatch(views, valid, labels, None, objective.draw(COUNT, generator), 4)


def cut(batch: ObjectiveBatch, rows: slice) -> ObjectiveBatch:
    """The rows of one process."""
    return batch._replace(
        views=tuple(view[rows] for view in batch.views),
        valid=None if batch.valid is None else batch.valid[rows],
        labels=None if batch.labels is None else batch.labels[rows],
        draws=tuple(part[rows] for part in batch.draws),
    )


def step(name: str, padded: bool, rows: slice, world: int) -> dict[str, Tensor]:
    """One step of plain gradient descent with averaged gradients, as DDP takes it."""
    encoder, objective = built(name)
    for part in [*encoder.modules(), *objective.modules()]:
        part.training = False
    batch = cut(whole_batch(objective, padded=padded), rows)
    result: dict[str, Tensor] = {}
    for turn in range(2):
        output = objective(encoder, batch)
        result[f"loss {turn}"] = output.loss.detach()
        result |= {f"{term} {turn}": value for term, value in output.logged.items()}
        encoder.zero_grad()
        objective.zero_grad()
        output.loss.backward()
        with torch.no_grad():
            for parameter in [*encoder.parameters(), *objective.parameters()]:
                if parameter.grad is not None:
                    if world > 1:
                        dist.all_reduce(parameter.grad)
                    parameter.sub_(0.05 * parameter.grad / world)
        objective.update(encoder, output.memory)  # type: ignore[operator]
    result |= {f"encoder.{k}": v for k, v in encoder.state_dict().items()}
    return result | {f"objective.{k}": v for k, v in objective.state_dict().items()}


def on_a_rank(name: str, padded: bool) -> dict[str, Tensor]:
    rows = slice(0, FIRST) if dist.get_rank() == 0 else slice(FIRST, COUNT)
    return step(name, padded, rows, dist.get_world_size())


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one(name: str, padded: bool, two_ranks: Ranks) -> None:
    wanted = step(name, padded, slice(0, COUNT), 1)
    results: list[dict[str, Any]] = two_ranks.run(on_a_rank, (name, padded), (name, padded))
    for result in results:
        assert result.keys() == wanted.keys()
        for key, value in wanted.items():
            assert torch.allclose(result[key].double(), value.double(), rtol=1e-8, atol=1e-10), (
                f"{key} differs"
            )
    for key, value in results[0].items():
        if key.startswith("objective.") and value.dtype != torch.int64:
            assert torch.allclose(value, results[1][key], rtol=1e-12, atol=1e-14), key
    _, objective = built(name)
    start = copy.deepcopy(objective.state_dict())
    changed = [k for k, v in start.items() if not torch.equal(v, wanted[f"objective.{k}"])]
    assert changed or not list(objective.parameters()), "the steps are steps"
