"""Two processes learn what one learns from both batches, through every wrapper."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok.quantizers import (
    AffineVectorQuantizer,
    EMAVectorQuantizer,
    GroupedQuantizer,
    GrowingQuantizer,
    LateQuantizer,
    MultiScaleQuantizer,
    OrderedQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    balanced_codes,
    codebook_drift_loss,
    kmeans,
)
from tests.ranks import Ranks

State = dict[str, Tensor]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64).exp() - 0.6


def ema(dim: int = 4, *, cosine: bool = False) -> EMAVectorQuantizer:
    return EMAVectorQuantizer(dim, 6, decay=0.7, cosine=cosine, generator=seeded(3))


BUILD: dict[str, Callable[[], Any]] = {
    "cosine": lambda: ema(cosine=True),
    "residual": lambda: ResidualQuantizer([ema(), ema()]),
    "grouped": lambda: GroupedQuantizer([ema(3), ema(1)]),
    "shared heads": lambda: GroupedQuantizer([ema(2)] * 2),
    "beams": lambda: ResidualQuantizer([ema(), ema()], beams=3),
    "late": lambda: LateQuantizer(ema(), wait=2),
    "ordered": lambda: OrderedQuantizer(ema()),
    "growing": lambda: GrowingQuantizer(ema(), [4, 6]),
    "scales": lambda: MultiScaleQuantizer([ema(), ema()], strides=[2, 1]),
    "projected": lambda: ProjectedQuantizer(ema(2), 4, generator=seeded(4)),
    "projected levels": lambda: ResidualQuantizer(
        [ProjectedQuantizer(ema(2), 4, generator=seeded(i)) for i in range(2)]
    ),
}


def _state(quantizer: Any) -> State:
    return {key: value.detach().clone() for key, value in quantizer.state_dict().items()}


def _learn(name: str, shard: Tensor, seed: int) -> tuple[State, State, State, list[Tensor]]:
    """Start, take three steps, let the second code of each codebook die, and revive it."""
    quantizer = BUILD[name]().double()
    if name != "shared heads":  # they draw from the heads in another order
        quantizer.initialize(shard, steps=3, generator=seeded(seed))
    started = _state(quantizer)
    for step in range(3):
        quantizer.update(shard + step, quantizer.encode(shard + step))
    for module in quantizer.modules():
        if isinstance(module, EMAVectorQuantizer):
            module.counts[1] = 0
    updated = _state(quantizer)
    moved = quantizer.revive(shard, quantizer.encode(shard), generator=seeded(seed + 5))
    return started, updated, _state(quantizer), [moved] if name == "cosine" else list(moved)


@pytest.mark.parametrize("name", BUILD)
def test_two_ranks_learn_as_one_process(two_ranks: Ranks, name: str) -> None:
    """The ranks' seeds differ: the first one's draws of the start count, as in one process."""
    x = data(60, 4)
    first, second = two_ranks.run(_learn, (name, x[:41], 1), (name, x[41:], 2))
    alone = _learn(name, x, 1)
    for one, other, whole in zip(first[:2], second[:2], alone[:2], strict=True):
        for key in whole:
            assert torch.equal(one[key], other[key])
            torch.testing.assert_close(one[key], whole[key])
    moved = alone[3]
    assert [flags.tolist() for flags in first[3]] == [flags.tolist() for flags in moved]
    assert [flags.tolist() for flags in second[3]] == [flags.tolist() for flags in moved]
    assert all(flags[1] for flags in moved)
    books = [key for key in alone[2] if key.split(".")[-1] == "weight" and "project" not in key]
    books = books[: len(moved)]  # a shared one has several names
    for key in alone[2]:
        assert torch.equal(first[2][key], second[2][key])
    for key, dead in zip(books, moved, strict=True):
        torch.testing.assert_close(first[2][key][~dead], alone[2][key][~dead])
        counts = key.removesuffix("weight") + "counts"
        torch.testing.assert_close(first[2][counts], alone[2][counts])
        assert not torch.equal(first[2][key][dead], first[1][key][dead])
    if name == "cosine":
        unit = x / x.norm(dim=1, keepdim=True)
        assert (torch.cdist(first[2]["weight"][moved[0]], unit).amin(dim=1) < 1e-6).all()


def _cluster(shard: Tensor, clusters: int, seed: int) -> Tensor:
    return kmeans(shard, clusters, steps=2, generator=seeded(seed)).centers


@pytest.mark.parametrize("clusters", [8, 64])  # the second is more than there are vectors
def test_the_first_rank_s_draws_start_the_clusters(two_ranks: Ranks, clusters: int) -> None:
    x = data(41, 3)
    first, second = two_ranks.run(_cluster, (x[:30], clusters, 1), (x[30:], clusters, 2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, _cluster(x, clusters, 1))


def _complain(initial: Tensor) -> str:
    try:
        kmeans(data(5, 2), 2, initial=initial)
    except ValueError as complaint:
        return str(complaint)
    return "no complaint"


def test_ranks_complain_of_a_start_together(two_ranks: Ranks) -> None:
    said = two_ranks.run(_complain, (torch.zeros(2, 2),), (torch.full((2, 2), torch.nan),))
    assert said == ["kmeans: initial must be finite; got NaN or infinity"] * 2


def _follow(shard: Tensor) -> tuple[State, Tensor, Tensor]:
    """Three steps of statistics, of a count of steps, and a gradient of the drift of codes."""
    affine = AffineVectorQuantizer(4, 6, decay=0.7, statistics_decay=0.6, generator=seeded(3))
    late = LateQuantizer(ema(), wait=2).double()
    affine = affine.double()
    for step in range(3):
        latents = shard + step
        affine.update(latents, affine.encode(latents))
        late.update(latents, late.encode(latents))
    book = affine.codebook.clone().requires_grad_()
    loss = codebook_drift_loss(shard, book, temperature=2.0)
    loss.backward()
    assert book.grad is not None
    return {**_state(affine), **_state(late)}, loss.detach(), book.grad


@pytest.mark.parametrize("cut", [41, 60])  # the second rank holds some, or none
def test_statistics_and_drift_are_those_of_all_ranks(two_ranks: Ranks, cut: int) -> None:
    x = data(60, 4)
    first, second = two_ranks.run(_follow, (x[:cut],), (x[cut:],))
    alone = _follow(x)
    for key in alone[0]:
        assert torch.equal(first[0][key], second[0][key])
        torch.testing.assert_close(first[0][key], alone[0][key])
    assert alone[0]["steps"] == 3
    torch.testing.assert_close(first[1], alone[1])
    torch.testing.assert_close((first[2] + second[2]) / 2, alone[2])  # as DDP averages


def _balance(shard: Tensor) -> Tensor:
    return balanced_codes(shard, data(6, 4, seed=5))


@pytest.mark.parametrize("cut", [41, 60])
def test_balance_is_that_of_all_ranks(two_ranks: Ranks, cut: int) -> None:
    x = data(60, 4)
    first, second = two_ranks.run(_balance, (x[:cut],), (x[cut:],))
    assert torch.equal(torch.cat([first, second]), _balance(x))
