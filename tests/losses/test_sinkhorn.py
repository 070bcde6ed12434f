"""Sinkhorn against the published loop in the exponential domain, where that does not overflow."""

import pytest
import torch
from torch import Tensor

from ssltok.distributed import gather
from ssltok.losses import sinkhorn
from tests.ranks import Ranks


def oracle(scores: Tensor, *, epsilon: float, iterations: int) -> Tensor:
    """SwAV, appendix A.1, with its transposed matrix and its constants."""
    q = torch.exp(scores / epsilon).T
    q = q / q.sum()
    prototypes, batch = q.shape
    for _ in range(iterations):
        q = q / q.sum(1, keepdim=True) / prototypes
        q = q / q.sum(0, keepdim=True) / batch
    return (q * batch).T


def draw(batch: int, codebook_size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(batch, codebook_size, generator=generator, dtype=torch.float64)
    return scores + torch.linspace(-1, 1, codebook_size, dtype=torch.float64)


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "codebook_size", "epsilon", "iterations"),
    [(7, 5, 0.05, 3), (3, 8, 0.3, 1), (6, 6, 1.0, 10), (1, 4, 0.5, 2), (4, 1, 0.5, 2)],
)
@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_published_assignment(
    batch: int, codebook_size: int, epsilon: float, iterations: int, seed: int
) -> None:
    scores = draw(batch, codebook_size, seed)
    expected = oracle(scores, epsilon=epsilon, iterations=iterations)
    got = sinkhorn(scores, epsilon=epsilon, iterations=iterations)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
    single = sinkhorn(scores.float(), epsilon=epsilon, iterations=iterations)
    assert single.dtype == torch.float32
    exact = oracle(scores.float().double(), epsilon=epsilon, iterations=iterations)
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-5)


def test_axes_in_front_are_batches_of_their_own() -> None:
    scores = torch.stack([draw(6, 5, seed) for seed in range(4)]).unflatten(0, (2, 2))
    got = sinkhorn(scores, epsilon=0.3)
    for i in range(2):
        for j in range(2):
            expected = oracle(scores[i, j], epsilon=0.3, iterations=3)
            torch.testing.assert_close(got[i, j], expected, rtol=1e-10, atol=1e-12)


def on_rank(scores: Tensor) -> Tensor:
    return sinkhorn(scores, epsilon=0.3, gather=gather)


def on_rank_by_view(scores: Tensor) -> Tensor:
    return sinkhorn(scores.unflatten(1, (2, 5)).movedim(1, 0), epsilon=0.3, gather=gather)


def test_two_ranks_with_views_in_front(two_ranks: Ranks) -> None:
    scores = draw(6, 10, 0)
    whole = sinkhorn(scores.unflatten(1, (2, 5)).movedim(1, 0), epsilon=0.3)
    first, second = two_ranks.run(on_rank_by_view, (scores[:2],), (scores[2:],))
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cut", [2, 4])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, cut: int) -> None:
    scores = draw(6, 5, 0)
    scores[:cut] += 3
    whole = sinkhorn(scores, epsilon=0.3)
    first, second = two_ranks.run(on_rank, (scores[:cut],), (scores[cut:],))
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-14)


# --- known values ---------------------------------------------------------------------------


def test_equal_scores_are_shared_equally() -> None:
    got = sinkhorn(torch.full((3, 8), 5.0))
    torch.testing.assert_close(got, torch.full((3, 8), 1 / 8))


def test_many_rounds_use_all_prototypes_equally() -> None:
    got = sinkhorn(draw(12, 4, 0), epsilon=0.5, iterations=200)
    torch.testing.assert_close(got.sum(0), torch.full((4,), 3.0, dtype=torch.float64))


# --- laws -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1.0, 25.0, 1e4])
def test_nothing_overflows_or_vanishes(size: float) -> None:
    """The published loop is NaN in float32 from `size` 25 on."""
    got = sinkhorn(size * draw(9, 7, 0).float(), iterations=20)
    assert got.isfinite().all()
    torch.testing.assert_close(got.sum(1), torch.ones(9))


def test_a_constant_added_to_all_scores_changes_nothing() -> None:
    scores = draw(5, 4, 0)
    torch.testing.assert_close(sinkhorn(scores + 1000), sinkhorn(scores), rtol=1e-8, atol=1e-12)


def test_a_constant_per_prototype_changes_nothing() -> None:
    """The first normalisation takes it out again; a constant per row would matter."""
    scores = draw(5, 4, 0)
    shift = torch.tensor([3.0, -2.0, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(scores + shift), sinkhorn(scores), rtol=1e-8, atol=1e-12)


def test_a_rank_may_be_empty_where_ranks_are_gathered() -> None:
    assert sinkhorn(torch.zeros(0, 5), gather=lambda part: part).shape == (0, 5)


def test_no_gradient_flows_and_the_scores_stay() -> None:
    scores = draw(5, 4, 0).requires_grad_()
    before = scores.detach().clone()
    assert not sinkhorn(scores).requires_grad
    assert torch.equal(scores, before)


def test_it_compiles() -> None:
    compiled = torch.compile(sinkhorn, fullgraph=True, backend="eager")
    scores = draw(5, 4, 0)
    torch.testing.assert_close(compiled(scores), sinkhorn(scores))


def test_autocast_changes_nothing() -> None:
    scores = draw(5, 4, 0).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sinkhorn(scores), sinkhorn(scores.clone()))
        inside = sinkhorn(scores)
    assert torch.equal(inside, sinkhorn(scores))


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "options", "said"),
    [
        (torch.zeros(3), {}, r"^sinkhorn: scores must be \(batch, codebook_size\), with any"),
        (torch.zeros(0, 3), {}, r"^sinkhorn: batch must be >= 1; got 0$"),
        (torch.zeros(3, 0), {}, r"^sinkhorn: codebook_size must be >= 1; got 0$"),
        (torch.zeros(3, 2).int(), {}, r"^sinkhorn: scores must be floating point; got"),
        (torch.zeros(3, 2), {"epsilon": 0.0}, r"^sinkhorn: epsilon must be > 0; got 0.0$"),
        (torch.zeros(3, 2), {"iterations": 0}, r"^sinkhorn: iterations must be >= 1; got 0$"),
    ],
)
def test_bad_input_is_refused(scores: Tensor, options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sinkhorn(scores, **options)  # type: ignore[arg-type]


# --- rows that are not real -----------------------------------------------------------------


def test_rows_that_are_not_real_take_no_part() -> None:
    """As if they were not there, whatever stands in them; a batch without any row is all 0."""
    scores = torch.stack([draw(6, 5, seed) for seed in range(4)])
    valid = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) < 0.6
    valid[1], valid[2] = False, True
    spoilt = scores.masked_fill(~valid.unsqueeze(-1), torch.nan)
    for given in (scores, spoilt):
        got = sinkhorn(given, valid, epsilon=0.3, iterations=4)
        assert not got[~valid].any()
        for one, real, assigned in zip(scores, valid, got, strict=True):
            if real.any():
                expected = oracle(one[real], epsilon=0.3, iterations=4)
                torch.testing.assert_close(assigned[real], expected, rtol=1e-10, atol=1e-12)
    same = sinkhorn(scores, torch.ones(4, 6, dtype=torch.bool), epsilon=0.3)
    assert torch.equal(same, sinkhorn(scores, epsilon=0.3))
    with pytest.raises(ValueError, match=r"^sinkhorn: valid must have shape \(4, 6\); got \(6, 4"):
        sinkhorn(scores, valid.T)


def on_rank_by_place(scores: Tensor, valid: Tensor) -> Tensor:
    """Place by place, over the rows of all ranks, as CAPI assigns."""
    columns = scores.transpose(0, 1), valid.T
    return sinkhorn(*columns, epsilon=0.3, gather=gather).transpose(0, 1)


@pytest.mark.parametrize("cut", [0, 2, 5])
def test_places_over_two_ranks(cut: int, two_ranks: Ranks) -> None:
    """Also where a rank holds no row, or none that is real at a place."""
    scores = torch.stack([draw(3, 4, seed) for seed in range(7)])
    valid = torch.arange(3) < torch.tensor([3, 1, 2, 3, 1, 1, 2])[:, None]
    valid[:, 2] &= torch.arange(7) < 2
    expected = on_rank_by_place(scores, valid)
    parts = [slice(0, cut), slice(cut, 7)]
    got = two_ranks.run(on_rank_by_place, *[(scores[part], valid[part]) for part in parts])
    torch.testing.assert_close(torch.cat(got), expected, rtol=1e-12, atol=1e-14)
