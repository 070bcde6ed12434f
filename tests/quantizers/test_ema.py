"""Codebooks that follow their tokens: the update, k-means, revival, and agreement of ranks."""

import copy
from typing import Any

import numpy as np
import pytest
import scipy.cluster.vq
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from ssltok.quantizers import (
    EMAVectorQuantizer,
    VectorQuantizer,
    _ema,
    code_counts,
    codebook_entropy_loss,
    ema_update_,
    kmeans,
    nearest_codes,
    revive_dead_codes_,
)
from tests.ranks import Ranks


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(tokens: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(tokens, dim, generator=seeded(seed)).exp() - 0.5


def error(tokens: Tensor, codebook: Tensor) -> float:
    return float((tokens - codebook[nearest_codes(tokens, codebook)]).double().square().mean())


# Oracle


def test_the_update_is_the_papers_with_sums_kept() -> None:
    """Appendix A.1 of VQ-VAE with its own sums $m$, in float64, over 30 steps."""
    size, dim, decay = 12, 3, 0.7
    start = data(size, dim, 1).double()
    n, m = torch.ones(size, dtype=torch.float64), start.clone()
    codebook, counts = start.clone(), torch.ones(size, dtype=torch.float64)
    for step in range(30):
        tokens = data(40, dim, 100 + step).double()
        codes = nearest_codes(tokens, codebook)
        codes[step % 5] = -1
        for k in range(size):
            mine = tokens[codes == k]
            n[k] = decay * n[k] + (1 - decay) * len(mine)
            m[k] = decay * m[k] + (1 - decay) * mine.sum(dim=0)
        ema_update_(codebook, counts, tokens, codes, decay=decay)
        torch.testing.assert_close(codebook, m / n[:, None])
        torch.testing.assert_close(counts, n)


def test_kmeans_against_scikit_learn_and_scipy() -> None:
    x, start = data(400, 5), data(400, 5)[37:50]
    expected = KMeans(13, init=start.numpy(), n_init=1, max_iter=200, tol=0, algorithm="lloyd")
    expected.fit(x.numpy())
    found = kmeans(x, 13, steps=200, initial=start)
    torch.testing.assert_close(found.centers, torch.from_numpy(expected.cluster_centers_))
    assert found.counts.tolist() == np.bincount(expected.labels_, minlength=13).tolist()
    few, _ = scipy.cluster.vq.kmeans2(x.double().numpy(), start.double().numpy(), iter=3)
    torch.testing.assert_close(
        kmeans(x.double(), 13, steps=3, initial=start).centers, torch.from_numpy(few)
    )


def test_kmeans_from_random_vectors_is_as_good_as_scikit_learns() -> None:
    x = data(2000, 4)
    ours = [error(x, kmeans(x, 16, steps=50, generator=seeded(s)).centers) for s in range(5)]
    theirs = [
        KMeans(16, init="random", n_init=1, random_state=s).fit(x.numpy()).inertia_ / x.numel()
        for s in range(5)
    ]
    assert np.mean(ours) < 1.1 * np.mean(theirs)


# Known values


def test_one_cluster_is_the_mean() -> None:
    x = data(50, 3)
    found = kmeans(x, 1, steps=1, generator=seeded(0))
    torch.testing.assert_close(found.centers[0], x.mean(dim=0))
    assert found.counts.tolist() == [50]


def test_spherical_kmeans_finds_directions() -> None:
    x = torch.tensor([[1.0, 0.0], [0.96, 0.28], [0.0, 1.0], [0.28, 0.96]])
    found = kmeans(x, 2, initial=x[[0, 2]], cosine=True)
    middle = torch.nn.functional.normalize(torch.tensor([[1.96, 0.28], [0.28, 1.96]]), dim=1)
    torch.testing.assert_close(found.centers, middle)


def test_no_steps_return_the_start() -> None:
    x = data(9, 2)
    found = kmeans(x, 9, steps=0, generator=seeded(0))
    assert found.counts.tolist() == [1] * 9
    assert sorted(found.centers.tolist()) == sorted(x.tolist())


# Laws


@pytest.mark.parametrize("decay", [0.8, 0.99])
@pytest.mark.parametrize("cosine", [False, True])
def test_unused_codes_do_not_move_a_bit_in_2000_steps(decay: float, cosine: bool) -> None:
    quantizer = EMAVectorQuantizer(7, 200, decay=decay, cosine=cosine, generator=seeded(0))
    kept = quantizer.weight.clone()
    tokens = kept[:3].repeat(5, 1) + 0.01 * data(15, 7)
    codes = torch.arange(3).repeat(5)
    for _ in range(2000):
        quantizer.update(tokens, codes)
    bits = quantizer.weight.view(torch.int32)
    assert torch.equal(bits[3:], kept[3:].view(torch.int32))
    assert not torch.equal(bits[:3], kept[:3].view(torch.int32))
    quantizer.update(tokens, codes + 3)  # and after all that, a first token is followed at once
    assert quantizer.weight.isfinite().all()
    assert not torch.equal(quantizer.weight[3:6], kept[3:6])


def test_an_update_after_kmeans_leaves_the_error_where_it_was() -> None:
    """The libraries that forget to scale the sums double the error here."""
    for tokens, size in ((4096, 64), (300, 64), (40, 64)):
        x = data(tokens, 6)
        quantizer = EMAVectorQuantizer(6, size, decay=0.8)
        quantizer.initialize(x, steps=100, generator=seeded(0))
        before = error(x, quantizer.codebook)
        quantizer.update(x, quantizer(x).codes)
        assert abs(error(x, quantizer.codebook) - before) < 1e-5
    quantizer.initialize(data(4096, 6), generator=seeded(0))  # not converged: it may get better
    before = error(data(4096, 6), quantizer.codebook)
    quantizer.update(data(4096, 6), quantizer(data(4096, 6)).codes)
    assert error(data(4096, 6), quantizer.codebook) <= before + 1e-5


@pytest.mark.parametrize("tokens", [1, 2, 20, 63])
def test_fewer_vectors_than_clusters(tokens: int) -> None:
    x = data(tokens, 3)
    found = kmeans(x, 64, generator=seeded(0))
    assert found.centers.isfinite().all()
    assert len(set(map(tuple, found.centers.tolist()))) == 64
    assert error(x, found.centers) < 1e-9
    assert (found.centers.abs().sum(dim=1) > 0).all()
    assert found.counts.sum() == tokens


def test_kmeans_comes_from_the_generator_alone() -> None:
    x = data(99, 3)
    before = torch.get_rng_state()
    first = kmeans(x, 8, generator=seeded(1))
    assert torch.equal(first.centers, kmeans(x, 8, generator=seeded(1)).centers)
    assert not torch.equal(first.centers, kmeans(x, 8, generator=seeded(2)).centers)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", [VectorQuantizer, EMAVectorQuantizer])
@pytest.mark.parametrize("cosine", [False, True])
def test_a_revived_code_survives_the_step_and_is_used(kind: Any, cosine: bool) -> None:
    x = data(256, 4)
    quantizer = kind(4, 16, cosine=cosine)
    start = torch.full((16, 4), -50.0)
    start[:4] = x[:4] + 0.01
    quantizer.set_codebook(start)
    for _ in range(600):
        codes = quantizer(x).codes
        quantizer.update(x, codes)
    settled, counts = quantizer.weight.detach().clone(), quantizer.counts.clone()
    moved = quantizer.revive(x, codes, generator=seeded(3))
    assert moved.tolist() == (counts < 0.1 * counts.mean()).tolist()
    assert 8 <= moved.sum() < 16
    placed = quantizer.weight.detach().clone()
    assert torch.equal(placed[~moved], settled[~moved])
    tokens = torch.nn.functional.normalize(x, dim=1) if cosine else x
    assert set(map(tuple, placed[moved].tolist())) <= set(map(tuple, tokens.tolist()))
    assert len(set(map(tuple, placed[moved].tolist()))) == moved.sum()
    codes = quantizer(x).codes
    used = set(codes.tolist())
    assert {k for k in range(16) if moved[k]} <= used
    quantizer.update(x, codes)
    assert (quantizer.weight[moved] - placed[moved]).abs().max() < 1.0
    assert not quantizer.revive(x, codes, generator=seeded(4))[moved].any()


def test_a_code_is_dead_below_the_share_and_not_at_it() -> None:
    tokens = torch.ones(5, 2)
    for share, dead in ((0.0, [0]), (0.25, [0, 1]), (0.5, [0, 1, 2])):
        counts = torch.tensor([0.0, 2.0, 4.0, 26.0])  # 8 on average: the first, then 1/4, 1/2
        moved = revive_dead_codes_(torch.zeros(4, 2), counts, tokens, share=share)
        assert moved.nonzero().flatten().tolist() == dead[:-1]


def test_revival_never_chooses_padding_and_needs_no_token() -> None:
    codebook, counts = torch.full((40, 2), 9.0), torch.zeros(40)
    counts[0] = 100.0
    tokens = torch.tensor([[1.0, 1.0], [torch.nan, 5.0], [2.0, 2.0], [5.0, 5.0]])
    valid = torch.tensor([True, False, True, False])
    revive_dead_codes_(codebook, counts, tokens, valid)
    assert codebook[0].tolist() == [9, 9]
    assert set(map(tuple, codebook[1:].tolist())) == {(1, 1), (2, 2)}
    assert counts[1:].tolist() == [2.5] * 39
    for none in (torch.zeros(4, dtype=torch.bool), torch.zeros(0, dtype=torch.bool)):
        counts = torch.arange(40.0)
        kept = codebook.clone()
        assert not revive_dead_codes_(codebook, counts, tokens[: len(none)], none, share=1.0).any()
        assert torch.equal(codebook, kept)


def test_setting_the_codebook_survives_an_update() -> None:
    quantizer = EMAVectorQuantizer(2, 3, decay=0.9)
    wanted = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    quantizer.set_codebook(wanted)
    quantizer.update(wanted, torch.arange(3))
    torch.testing.assert_close(quantizer.codebook, wanted)


def test_counts_add_up_over_a_set() -> None:
    parts = [
        torch.tensor([[0, 3], [3, -1]]),
        torch.tensor([1, 3]),
        torch.zeros(0, dtype=torch.int64),
    ]
    assert sum(code_counts(part, 5) for part in parts).tolist() == [1, 1, 0, 3, 0]  # type: ignore[union-attr]


# Agreement of ranks


def test_a_step_is_one_all_reduce(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []

    def count(tensor: Tensor) -> Tensor:
        shapes.append(tuple(tensor.shape))
        return 2 * tensor

    quantizer = EMAVectorQuantizer(3, 5, decay=0.5)
    alone = copy.deepcopy(quantizer)
    x = data(9, 3)
    codes = quantizer(x).codes
    alone.update(torch.cat([x, x]), torch.cat([codes, codes]))
    monkeypatch.setattr(_ema, "in_a_group", lambda: True)
    monkeypatch.setattr(_ema, "sum_over_ranks", count)
    quantizer.update(x, codes)
    assert shapes == [(6, 4)]  # sums and counts, and a row for padding
    torch.testing.assert_close(quantizer.state_dict(), alone.state_dict())


def _train(shards: list[Tensor], start: Tensor) -> dict[str, Tensor]:
    quantizer = EMAVectorQuantizer(3, 20, decay=0.8, generator=seeded(0))
    quantizer.initialize(start, steps=5, generator=seeded(1))
    for shard in shards:
        quantizer.update(shard, quantizer(shard).codes)
    return {key: value.clone() for key, value in quantizer.state_dict().items()}


def _revive(shard: Tensor) -> tuple[Tensor, Tensor]:
    codebook, counts = torch.full((30, 3), 99.0), torch.zeros(30)
    counts[:5] = 10
    torch.manual_seed(int(shard.shape[0]))  # ranks draw differently, and still agree
    revive_dead_codes_(codebook, counts, shard)
    return codebook, counts


def _entropy(tokens: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    codebook = codebook.clone().requires_grad_()
    loss = codebook_entropy_loss(tokens, codebook, temperature=0.5)
    loss.backward()
    assert codebook.grad is not None
    return loss.detach(), codebook.grad


@pytest.mark.parametrize(("first", "second"), [(30, 11), (40, 0), (3, 2)])
def test_ranks_agree_with_one_process(two_ranks: Ranks, first: int, second: int) -> None:
    """Unequal batches, an empty one, and fewer vectors than codes; 20 steps."""
    steps = [(data(first, 3, 10 + s), data(second, 3, 50 + s)) for s in range(20)]
    starts = data(first, 3, 1), data(second, 3, 2)
    a, b = two_ranks.run(
        _train, ([s[0] for s in steps], starts[0]), ([s[1] for s in steps], starts[1])
    )
    alone = _train([torch.cat(step) for step in steps], torch.cat(starts))
    for key in alone:
        assert torch.equal(a[key], b[key])
        torch.testing.assert_close(a[key], alone[key])


def test_ranks_revive_alike(two_ranks: Ranks) -> None:
    shards = data(6, 3, 1), data(50, 3, 2)
    (codebook_a, counts_a), (codebook_b, counts_b) = two_ranks.run(
        _revive, (shards[0],), (shards[1],)
    )
    assert torch.equal(codebook_a, codebook_b)
    assert torch.equal(counts_a, counts_b)
    assert (torch.cdist(codebook_a[5:], torch.cat(shards)).amin(dim=1) < 1e-3).all()
    assert (codebook_a[:5] == 99).all()
    empty, full = two_ranks.run(_revive, (shards[0][:0],), (shards[1],))
    assert torch.equal(empty[0], full[0])
    assert (torch.cdist(empty[0][5:], shards[1]).amin(dim=1) < 1e-3).all()


def test_ranks_see_one_entropy(two_ranks: Ranks) -> None:
    x, e = data(30, 3), data(7, 3, 1)
    (loss_a, grad_a), (loss_b, grad_b) = two_ranks.run(_entropy, (x[:21], e), (x[21:], e))
    loss, grad = _entropy(x, e)
    torch.testing.assert_close(loss_a, loss)
    torch.testing.assert_close(loss_b, loss)
    torch.testing.assert_close((grad_a + grad_b) / 2, grad)  # what DDP makes of them


def _bad(vectors: Tensor) -> str:
    try:
        kmeans(vectors, 2)
    except ValueError as complaint:
        return str(complaint)
    return "no complaint"


def test_ranks_complain_together(two_ranks: Ranks) -> None:
    """One rank's NaN must not leave the other waiting."""
    said = two_ranks.run(_bad, (data(4, 2),), (torch.full((3, 2), torch.nan),))
    assert said == ["kmeans: vectors must be finite; got NaN or infinity in 3 of them"] * 2


# Complaints


def test_complaints_of_the_update() -> None:
    e, n, x, k = torch.zeros(3, 2), torch.ones(3), torch.ones(4, 2), torch.zeros(4).long()
    with pytest.raises(ValueError, match=r"ema_update_: decay must lie in \[0, 1\]; got 1.5"):
        ema_update_(e, n, x, k, decay=1.5)
    with pytest.raises(ValueError, match=r"ema_update_: counts must have size 3 in dim.* got 2"):
        ema_update_(e, n[:2], x, k, decay=0.5)
    with pytest.raises(ValueError, match=r"must both be float32 or float64; got torch.bfloat16"):
        ema_update_(e.bfloat16(), n, x, k, decay=0.5)
    with pytest.raises(ValueError, match="codes must have size 4 in dimension 0; got 3"):
        ema_update_(e, n, x, k[:3], decay=0.5)
    with pytest.raises(ValueError, match=r"codes must lie in \[-1, 3\); got values from 0 to 3"):
        ema_update_(e, n, x, torch.tensor([0, 3, 0, 0]), decay=0.5)
    with pytest.raises(ValueError, match=r"code_counts: codes must be int64; got torch.float32"):
        code_counts(x, 3)
    with pytest.raises(ValueError, match="code_counts: codebook_size must be >= 1; got 0"):
        code_counts(k, 0)
    with pytest.raises(ValueError, match=r"revive_dead_codes_: share must lie in \[0, 1\]; got 2"):
        revive_dead_codes_(e, n, x, share=2)
    assert (e == 0).all()
    assert (n == 1).all()


def test_complaints_of_kmeans_touch_no_state() -> None:
    x = data(9, 2)
    with pytest.raises(ValueError, match="kmeans: clusters must be >= 1; got 0"):
        kmeans(x, 0)
    with pytest.raises(ValueError, match="kmeans: steps must be >= 0; got -1"):
        kmeans(x, 2, steps=-1)
    with pytest.raises(ValueError, match=r"kmeans: vectors must not be empty; got shape \(0, 2\)"):
        kmeans(x[:0], 2)
    with pytest.raises(ValueError, match=r"initial must have shape \(3, 2\); got \(2, 2\)"):
        kmeans(x, 3, initial=x[:2])
    with pytest.raises(
        ValueError, match=r"kmeans: vectors must be floating point; got torch.int64"
    ):
        kmeans(x.long(), 2)
    quantizer = EMAVectorQuantizer(2, 4)
    before = {key: value.clone() for key, value in quantizer.state_dict().items()}
    x[3, 1] = torch.nan
    with pytest.raises(ValueError, match="vectors must be finite; got NaN or infinity in 1 of"):
        quantizer.initialize(x)
    assert all(torch.equal(value, before[key]) for key, value in quantizer.state_dict().items())
