"""Codebooks that follow their tokens, step by step beside the published rules, written naively.

Everything here is in float64, code by code and token by token, with the sums that the papers keep
and ours does not. `cosine` is the rule of `vector-quantize-pytorch` (`CosineSimCodebook`): running
sums of unit tokens, whose directions are the codes.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok.quantizers import (
    EMAVectorQuantizer,
    GroupedQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)
from tests.ranks import Ranks

SIZE, DIM, STEPS = 12, 3, 25


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(tokens: int, dim: int, seed: int) -> Tensor:
    """Skewed, off centre, and with channels of scales 1, 3, 9."""
    x = torch.randn(tokens, dim, generator=seeded(seed), dtype=torch.float64).exp() - 0.7
    return x * 3.0 ** torch.arange(dim)


class Naive:
    """A codebook by the rule of VQ-VAE, appendix A.1: $N_k$ and $m_k$, both kept."""

    def __init__(self, codebook: Tensor, *, decay: float, cosine: bool = False) -> None:
        self.decay, self.cosine = decay, cosine
        self.set(codebook, torch.ones(len(codebook), dtype=torch.float64))

    def set(self, codebook: Tensor, counts: Tensor) -> None:
        self.n = counts.double().clone()
        self.m = self.n[:, None] * codebook.detach().double()

    def direction(self, row: Tensor) -> Tensor:
        return row / row.square().sum().sqrt() if self.cosine else row

    def codebook(self) -> Tensor:
        rows = [self.direction(m / n) for m, n in zip(self.m, self.n, strict=True)]
        return torch.stack(rows)

    def nearest(self, x: Tensor) -> Tensor:
        book = self.codebook()
        return torch.stack([(self.direction(row) - book).square().sum(dim=1).argmin() for row in x])

    def step(self, x: Tensor, codes: Tensor) -> None:
        for k in range(len(self.n)):
            rows = [self.direction(x[i]) for i in range(len(x)) if codes[i] == k]
            self.n[k] = self.decay * self.n[k] + (1 - self.decay) * len(rows)
            total = sum(rows, torch.zeros(x.shape[1], dtype=torch.float64))
            self.m[k] = self.decay * self.m[k] + (1 - self.decay) * total


def assert_alike(quantizer: Any, naive: Naive) -> None:
    torch.testing.assert_close(quantizer.codebook, naive.codebook())
    torch.testing.assert_close(quantizer.counts, naive.n)


def ema(**options: Any) -> EMAVectorQuantizer:
    return EMAVectorQuantizer(DIM, SIZE, generator=seeded(3), **options).double()


@pytest.mark.parametrize("decay", [0.3, 0.8, 0.99, 1.0])
@pytest.mark.parametrize("cosine", [False, True])
def test_decay_and_cosine(decay: float, cosine: bool) -> None:
    quantizer = ema(decay=decay, cosine=cosine, channel_dim=1)
    naive = Naive(quantizer.codebook, decay=decay, cosine=cosine)
    for step in range(STEPS):
        x = data(40, DIM, step)
        latents = x.reshape(4, 10, DIM).mT
        codes = quantizer(latents).codes
        assert torch.equal(codes.flatten(), naive.nearest(x))
        quantizer.update(latents, codes)
        naive.step(x, codes.flatten())
        assert_alike(quantizer, naive)


@pytest.mark.parametrize("cosine", [False, True])
def test_decay_zero_is_the_mean_of_the_last_step(cosine: bool) -> None:
    quantizer = ema(decay=0.0, cosine=cosine)
    before, x = quantizer.codebook.clone(), data(8, DIM, 0)
    codes = quantizer(x).codes
    quantizer.update(x, codes)
    rows = x / x.norm(dim=1, keepdim=True) if cosine else x
    for k in range(SIZE):
        mean = rows[codes == k].mean(dim=0) if (codes == k).any() else before[k]
        mean = mean / mean.norm() if cosine else mean
        torch.testing.assert_close(quantizer.codebook[k], mean)
        assert quantizer.counts[k] == (codes == k).sum()


@pytest.mark.parametrize("cosine", [False, True])
def test_padding_and_lost_rows_are_no_tokens(cosine: bool) -> None:
    quantizer = ema(decay=0.7, cosine=cosine)
    naive = Naive(quantizer.codebook, decay=0.7, cosine=cosine)
    for step in range(STEPS):
        x = data(30, DIM, step)
        valid = torch.rand(30, generator=seeded(step)) < 0.7
        x[3, 1], x[17, 0], x[18] = torch.nan, -torch.inf, torch.inf
        codes = quantizer(x, valid).codes
        quantizer.update(x, codes)
        real = valid & x.isfinite().all(dim=1)
        naive.step(x[real], codes[real])
        assert_alike(quantizer, naive)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("kind", ["ema", "cosine", "gradient"])
def test_revival_and_its_threshold(share: float, kind: str) -> None:
    """A code below the share is a token, with the count of an average code; others stay."""
    cosine = kind == "cosine"
    if kind == "gradient":
        quantizer: Any = VectorQuantizer(DIM, SIZE, generator=seeded(3)).double()
    else:
        quantizer = ema(decay=0.6, cosine=cosine)
    naive = Naive(quantizer.codebook, decay=0.99 if kind == "gradient" else 0.6, cosine=cosine)
    moves = 0
    for step in range(STEPS):
        x = data(40, DIM, step)
        codes = quantizer(x).codes
        quantizer.update(x, codes)
        if kind == "gradient":  # only the counts follow
            naive.n = 0.99 * naive.n + 0.01 * torch.bincount(codes, minlength=SIZE)
            naive.m = naive.n[:, None] * quantizer.codebook.detach()
        else:
            naive.step(x, codes)
        dead = naive.n < share * naive.n.mean()
        moved = quantizer.revive(x, codes, share=share, generator=seeded(step))
        assert torch.equal(moved, dead)
        average, tokens = naive.n.mean(), torch.stack([naive.direction(row) for row in x])
        for k in range(SIZE):
            if dead[k]:
                apart = (quantizer.codebook[k] - tokens).abs().amax(dim=1)
                assert apart.min() < 1e-12
                naive.n[k], naive.m[k] = average, average * tokens[apart.argmin()]
                moves += 1
        assert_alike(quantizer, naive)
    assert (moves > 0) is (share > 0.1 or (share > 0 and kind != "gradient"))


def lloyd(x: Tensor, start: Tensor, steps: int, *, cosine: bool) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm, and how many were nearest when it last looked."""
    naive = Naive(start, decay=0.0, cosine=cosine)
    centers, counts = naive.codebook(), torch.zeros(len(start), dtype=torch.float64)
    for step in range(max(steps, 1)):
        nearest = [(row - centers).square().sum(dim=1).argmin().item() for row in x]
        counts = torch.tensor([nearest.count(k) for k in range(len(start))], dtype=torch.float64)
        if step < steps:
            for k in range(len(start)):
                rows = [x[i] for i in range(len(x)) if nearest[i] == k]
                if rows:
                    centers[k] = naive.direction(torch.stack(rows).mean(dim=0))
    return centers, counts


@pytest.mark.parametrize("steps", [0, 1, 7])
@pytest.mark.parametrize("cosine", [False, True])
def test_the_start_from_clusters_and_steps_after_it(steps: int, cosine: bool) -> None:
    quantizer = ema(decay=0.6, cosine=cosine)
    x = data(60, DIM, 100)
    valid = torch.arange(60) % 4 > 0
    quantizer.initialize(x, valid, steps=steps, generator=seeded(9))
    naive = Naive(quantizer.codebook, decay=0.6, cosine=cosine)
    rows = torch.stack([naive.direction(row) for row in x[valid]])
    order = torch.randperm(len(rows), generator=seeded(9))
    centers, counts = lloyd(rows, rows[order[:SIZE]], steps, cosine=cosine)
    naive.set(centers, counts)
    torch.testing.assert_close(quantizer.codebook, centers)
    torch.testing.assert_close(quantizer.counts, counts)
    for step in range(5):
        x = data(40, DIM, step)
        codes = quantizer(x).codes
        quantizer.update(x, codes)
        naive.step(x, codes)
        used = naive.n > 0
        torch.testing.assert_close(quantizer.codebook[used], naive.codebook()[used])


def _follow(cosine: bool, shards: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    quantizer = ema(decay=0.7, cosine=cosine)
    states = []
    for shard in shards:
        quantizer.update(shard, quantizer(shard).codes)
        states.append((quantizer.codebook.clone(), quantizer.counts.clone()))
    return states


@pytest.mark.parametrize("cosine", [False, True])
def test_two_ranks_follow_the_rule_over_both_their_tokens(two_ranks: Ranks, cosine: bool) -> None:
    """One of them has no token in one step, another has a lost row."""
    steps = [data(30, DIM, s) for s in range(6)]
    steps[4][2, 1] = torch.nan
    cuts = [20, 7, 30, 15, 9, 1]
    first, second = two_ranks.run(
        _follow,
        (cosine, [x[:cut] for x, cut in zip(steps, cuts, strict=True)]),
        (cosine, [x[cut:] for x, cut in zip(steps, cuts, strict=True)]),
    )
    naive = Naive(ema(decay=0.7, cosine=cosine).codebook, decay=0.7, cosine=cosine)
    for x, one, other in zip(steps, first, second, strict=True):
        real = x[x.isfinite().all(dim=1)]
        naive.step(real, naive.nearest(real))
        for got, same, wanted in zip(one, other, (naive.codebook(), naive.n), strict=True):
            assert torch.equal(got, same)
            torch.testing.assert_close(got, wanted)


def levels(part: Callable[[], Any]) -> Any:
    return ResidualQuantizer([part(), part()], scales=[1.0, 0.5])


@pytest.mark.parametrize("cosine", [False, True])
def test_residual_levels_follow_what_is_left(cosine: bool) -> None:
    quantizer = levels(lambda: ema(decay=0.7, cosine=cosine))
    naives = [Naive(part.codebook, decay=0.7, cosine=cosine) for part in quantizer.quantizers]
    for step in range(8):
        x = data(40, DIM, step)
        codes = quantizer(x).codes
        books = [naive.codebook() for naive in naives]
        quantizer.update(x, codes)
        rest = x
        for naive, scale, level, book in zip(naives, (1.0, 0.5), codes.unbind(1), books,
                                             strict=True):  # fmt: skip
            naive.step(rest / scale, level)
            rest = rest - scale * book[level]
        for part, naive in zip(quantizer.quantizers, naives, strict=True):
            assert_alike(part, naive)


@pytest.mark.parametrize("cosine", [False, True])
def test_shared_heads_behind_a_projection_follow_all_heads(cosine: bool) -> None:
    part = ema(decay=0.7, cosine=cosine)
    quantizer = ProjectedQuantizer(GroupedQuantizer([part, part]), 5, generator=seeded(1)).double()
    naive = Naive(part.codebook, decay=0.7, cosine=cosine)
    for step in range(8):
        x = data(20, 5, step)
        codes = quantizer(x).codes
        inner = x @ quantizer.project_in.weight.T + quantizer.project_in.bias
        heads = torch.cat([inner[:, :DIM], inner[:, DIM:]]).detach()
        quantizer.update(x, codes)
        naive.step(heads, codes.T.flatten())
        assert_alike(part, naive)


def test_cosine_is_better_than_a_mean_scaled_to_length_one_each_step() -> None:
    """The rule that stood here before weighed a unit code as if it were a sum: measured worse."""
    quantizer = EMAVectorQuantizer(16, 64, cosine=True, generator=seeded(0)).double()
    before, n = quantizer.codebook.clone(), torch.ones(64, dtype=torch.float64)
    errors = torch.zeros(2, dtype=torch.float64)
    for step in range(400):
        x = torch.randn(256, 16, generator=seeded(step), dtype=torch.float64).exp() - 0.7
        x = x / x.norm(dim=1, keepdim=True)
        codes = (x @ before.T).argmax(dim=1)
        if step >= 380:
            errors[0] += (x - before[codes]).square().sum(dim=1).mean() / 20
            errors[1] += (x - quantizer(x).vectors).square().sum(dim=1).mean() / 20
        used = torch.bincount(codes, minlength=64).double()
        sums = torch.zeros(64, 16, dtype=torch.float64).index_add_(0, codes, x)
        moved = 0.99 * n[:, None] * before + 0.01 * sums
        n = 0.99 * n + 0.01 * used
        before = torch.where(used[:, None] > 0, moved / moved.norm(dim=1, keepdim=True), before)
        quantizer.update(x, quantizer(x).codes)
    assert errors[1] < 0.99 * errors[0]  # 0.375 against 0.382


def test_a_latent_without_direction_moves_no_direction() -> None:
    """3,500 steps of zeros would fade a running mean away, and its direction with it."""
    quantizer = EMAVectorQuantizer(3, 4, cosine=True, generator=seeded(0))
    before = quantizer.codebook.clone()
    zeros = torch.zeros(5, 3)
    codes = quantizer(zeros).codes
    for _ in range(3500):
        quantizer.update(zeros, codes)
    assert torch.equal(quantizer.codebook, before)
    quantizer.counts.zero_()[0] = 8.0
    assert not quantizer.revive(zeros, quantizer(zeros).codes).any()
