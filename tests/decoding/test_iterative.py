"""The decoder: against MaskGIT written naively, a known joint distribution, and its own laws."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor

from ssltok.decoding import (
    DecodingState,
    confidence_order,
    fixed_order,
    iterative_decode,
    random_order,
    temperature_sample,
)

GREEDY = temperature_sample(temperature=0.0)


def cosine(progress: Tensor) -> Tensor:
    return torch.sin((1 - progress) * math.pi / 2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(tokens: int, codes: int, seed: int) -> Callable[[Tensor], Tensor]:
    """A fixed function whose logits at every place depend on all the tokens."""
    table = torch.randn(tokens, codes + 1, tokens, codes, generator=seeded(seed)).double()

    def logits(ids: Tensor) -> Tensor:
        picked = table[torch.arange(tokens), ids]  # batch tokens tokens codes
        return picked.sum(dim=1)

    return logits


def naive_maskgit(full: Callable[[Tensor], Tensor], ids: Tensor, codes: int, steps: int) -> Tensor:
    """MaskGIT's published loop at temperature 0, one row and one token at a time."""
    rows = []
    for row in ids:
        row = row.clone()
        unknown_at_start = int((row == codes).sum())
        final = row.clone()
        for t in range(steps):
            unknown = [i for i in range(len(row)) if row[i] == codes]
            logits = full(row[None])[0]
            sampled = row.clone()
            confidence = [math.inf] * len(row)
            for i in unknown:
                sampled[i] = int(logits[i].argmax())
                confidence[i] = float(logits[i].log_softmax(dim=-1)[sampled[i]])
            final = sampled
            keep_masked = math.floor(unknown_at_start * math.cos(math.pi / 2 * (t + 1) / steps))
            count = max(1, min(len(unknown) - 1, keep_masked))
            lowest = sorted(range(len(row)), key=lambda i: confidence[i])[:count]
            row = sampled.clone()
            for i in lowest:
                if confidence[i] < math.inf:
                    row[i] = codes
        rows.append(final)
    return torch.stack(rows)


# oracle


@pytest.mark.parametrize("steps", [1, 2, 5, 11, 12, 17])
def test_temperature_zero_gives_the_tokens_of_published_maskgit(steps: int) -> None:
    full = model(12, 5, seed=3)
    ids = torch.full((6, 12), 5)
    ids[1, :7] = torch.randint(5, (7,), generator=seeded(1))
    ids[2, 1:] = torch.randint(5, (11,), generator=seeded(2))
    ids[3] = torch.randint(5, (12,), generator=seeded(3))
    found = iterative_decode(
        lambda tokens, where: full(tokens)[where],
        ids,
        mask_index=5,
        steps=steps,
        schedule=cosine,
        order=confidence_order(temperature=0.0),
        sample=GREEDY,
    )
    assert torch.equal(found, naive_maskgit(full, ids, 5, steps))


def conditionals(joint: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The exact conditionals of an enumerated joint distribution as a logits function."""
    tokens, codes = joint.ndim, joint.shape[0]
    states = torch.tensor(list(itertools.product(range(codes), repeat=tokens)))
    weights = joint.reshape(-1)

    def logits_fn(ids: Tensor, where: Tensor) -> Tensor:
        agree = ((ids[:, None] == states) | (ids[:, None] == codes)).all(dim=-1).to(weights)
        each = torch.einsum("bs,s,stk->btk", agree, weights, one_hot(states, codes))
        return each.log()[where]

    return logits_fn


def one_hot(states: Tensor, codes: int) -> Tensor:
    return torch.nn.functional.one_hot(states, codes).double()


def test_random_order_with_as_many_steps_as_tokens_draws_from_the_joint() -> None:
    joint = torch.rand((3,) * 5, generator=seeded(4), dtype=torch.float64).pow(3)
    joint /= joint.sum()
    samples = 12_000
    found = iterative_decode(
        conditionals(joint),
        torch.full((samples, 5), 3),
        mask_index=3,
        steps=5,
        schedule=lambda progress: 1 - progress,
        order=random_order(),
        sample=temperature_sample(),
        generator=seeded(5),
    )
    index = (found * 3 ** torch.arange(4, -1, -1)).sum(dim=1)
    counts = torch.bincount(index, minlength=3**5).double()
    expected = joint.reshape(-1) * samples
    rare = expected < 5
    seen = torch.cat([counts[~rare], counts[rare].sum()[None]])
    wanted = torch.cat([expected[~rare], expected[rare].sum()[None]])
    assert stats.chisquare(seen.numpy(), wanted.numpy()).pvalue > 0.01
    # the test has the power to see a difference: all tokens in one step are independent
    at_once = iterative_decode(
        conditionals(joint),
        torch.full((samples, 5), 3),
        mask_index=3,
        steps=1,
        schedule=lambda progress: 1 - progress,
        order=random_order(),
        sample=temperature_sample(),
        generator=seeded(6),
    )
    index = (at_once * 3 ** torch.arange(4, -1, -1)).sum(dim=1)
    counts = torch.bincount(index, minlength=3**5).double()
    seen = torch.cat([counts[~rare], counts[rare].sum()[None]])
    assert stats.chisquare(seen.numpy(), wanted.numpy()).pvalue < 1e-6


# laws


@pytest.mark.parametrize("tokens", [1, 2, 64])
@pytest.mark.parametrize("steps", ["1", "2", "N", "N+5"])
@pytest.mark.parametrize("noise", [0.0, 4.5])
def test_counts_protection_and_forwards(tokens: int, steps: str, noise: float) -> None:
    count = {"1": 1, "2": 2, "N": tokens, "N+5": tokens + 5}[steps]
    codes = 4
    unknown = [0, 1, tokens, (tokens + 1) // 2]  # different in every row
    ids = torch.randint(codes, (4, tokens), generator=seeded(7))
    for row, hidden in enumerate(unknown):
        places = torch.randperm(tokens, generator=seeded(row))[:hidden]
        ids[row, places] = codes
    before = ids.clone()
    seen: list[Tensor] = []
    states: list[tuple[DecodingState, Tensor]] = []

    def logits_fn(now: Tensor, where: Tensor) -> Tensor:
        assert torch.equal(where, now == codes)
        seen.append(where.sum(dim=1))
        return torch.zeros(int(where.sum()), codes)  # ties everywhere

    found = iterative_decode(
        logits_fn,
        ids,
        mask_index=codes,
        steps=count,
        schedule=cosine,
        order=confidence_order(temperature=noise),
        sample=temperature_sample(),
        generator=seeded(8),
        observe=lambda state, after: states.append((state, after)),
    )
    known = before != codes
    assert torch.equal(ids, before)
    assert torch.equal(found[known], before[known])
    assert (found < codes).all()
    assert len(seen) == min(count, tokens) if tokens > 0 else 0
    for row, hidden in enumerate(unknown):
        left = hidden
        for t in range(count):
            if t < len(seen):
                assert int(seen[t][row]) == left
            share = math.cos(math.pi / 2 * (t + 1) / count) if t + 1 < count else 0.0
            left = max(0, min(left - 1, math.floor(hidden * share + 1e-9)))
    for state, after in states:
        assert torch.equal(state.given, known)
        fixed = known | ~state.drawn
        assert torch.equal(after[fixed], state.tokens[fixed])


def test_an_all_known_input_is_returned_without_a_forward() -> None:
    ids = torch.tensor([[0, 1, -1]])

    def never(tokens: Tensor, where: Tensor) -> Tensor:
        raise AssertionError

    found = iterative_decode(
        never, ids, mask_index=2, steps=3, schedule=cosine, order=random_order(), sample=GREEDY
    )
    assert torch.equal(found, ids)


def test_padding_is_never_drawn_nor_counted() -> None:
    ids = torch.tensor([[2, 2, 2, 2, -1], [2, 0, 2, 2, 2]])
    valid = torch.tensor([[True, True, False, True, True], [True] * 5])
    counts: list[list[int]] = []

    def logits_fn(tokens: Tensor, where: Tensor) -> Tensor:
        counts.append(where.sum(dim=1).tolist())
        assert not where[0, 2:5:2].any()
        return torch.zeros(int(where.sum()), 2)

    found = iterative_decode(
        logits_fn, ids, mask_index=2, steps=2, schedule=lambda r: 1 - r, valid=valid,
        order=random_order(), sample=temperature_sample(), generator=seeded(),
    )  # fmt: skip
    assert counts == [[3, 4], [1, 2]]
    assert found[0, 2] == 2
    assert found[0, 4] == -1
    assert (found[valid & (ids == 2)] < 2).all()


def test_a_fixed_order_keeps_the_first_places_first() -> None:
    order = torch.tensor([3, 0, 2, 1])
    left: list[list[int]] = []
    iterative_decode(
        lambda tokens, where: torch.zeros(int(where.sum()), 2),
        torch.full((1, 4), 2),
        mask_index=2,
        steps=4,
        schedule=lambda r: 1 - r,
        order=fixed_order(order),
        sample=GREEDY,
        observe=lambda state, after: left.append((after[0] == 2).nonzero()[:, 0].tolist()),
    )
    assert left == [[0, 1, 2], [1, 2], [1], []]


def test_the_generator_alone_decides() -> None:
    full = model(8, 4, seed=9)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, two, three = (
        iterative_decode(
            lambda tokens, where: full(tokens)[where], torch.full((5, 8), 4), mask_index=4,
            steps=4, schedule=cosine, order=confidence_order(), sample=temperature_sample(),
            generator=seeded(seed),
        )
        for seed in (1, 1, 2)
    )  # fmt: skip
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert torch.equal(before, torch.get_rng_state())


# complaints


def decode(
    tokens: Tensor,
    logits_fn: Callable[[Tensor, Tensor], Tensor] = lambda t, w: torch.zeros(int(w.sum()), 3),
    schedule: Callable[[Tensor], Tensor] = cosine,
    order: Callable[[DecodingState], Tensor] | None = None,
    steps: int = 2,
    mask_index: int = 3,
    valid: Tensor | None = None,
    given: Tensor | None = None,
) -> Tensor:
    return iterative_decode(
        logits_fn, tokens, mask_index=mask_index, steps=steps, schedule=schedule,
        order=order or random_order(), sample=GREEDY, valid=valid, given=given,
    )  # fmt: skip


def test_complaints() -> None:
    ids = torch.full((2, 4), 3)
    with pytest.raises(ValueError, match=r"^iterative_decode: steps must be >= 1; got 0$"):
        decode(ids, steps=0)
    with pytest.raises(ValueError, match=r"tokens must lie in \[-1, mask_index = 2\]; got 3 to 3"):
        decode(ids, mask_index=2)
    with pytest.raises(ValueError, match=r"tokens must lie in \[-1, mask_index = 3\]; got -2"):
        decode(ids - 5)
    said = r"logits must be \(masked places, mask_index\) = \(8, 3\); got \(8, 4\)$"
    with pytest.raises(ValueError, match=said):  # a mask index inside the codebook of the model
        decode(ids, lambda tokens, where: torch.zeros(int(where.sum()), 4))
    with pytest.raises(ValueError, match=r"= \(8, 3\); got \(2, 4, 3\)$"):
        decode(ids, lambda tokens, where: torch.zeros(2, 4, 3))
    said = r"schedule must end at a share masked of 0; got 1 at progress 1$"
    with pytest.raises(ValueError, match=said):
        decode(ids, schedule=lambda progress: progress)
    with pytest.raises(ValueError, match=r"schedule must keep the shape of progress; got \(\)"):
        decode(ids, schedule=lambda progress: progress.sum())
    with pytest.raises(ValueError, match=r"order must return shape \(2, 4\); got \(2,\)$"):
        decode(ids, order=lambda state: state.logprob[:, 0])
    with pytest.raises(ValueError, match=r"tokens must be int64; got torch.float32$"):
        decode(ids.float())
    with pytest.raises(ValueError, match=r"tokens must be \(batch, tokens\); got shape \(4,\)$"):
        decode(ids[0])
    with pytest.raises(ValueError, match=r"tokens must not be empty; got shape \(0, 4\)$"):
        decode(ids[:0])
    with pytest.raises(ValueError, match=r"valid must have shape \(2, 4\); got \(2, 3\)$"):
        decode(ids, valid=torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"given must be boolean; got torch.float32$"):
        decode(ids, given=torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"mask_index must be >= 1; got 0$"):
        decode(ids, mask_index=0)


def test_a_model_asked_everywhere_compiles_once_for_a_whole_run() -> None:
    """Rows of logits differ from step to step; what is compiled need not."""
    full = model(9, 4, seed=12)
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        graphs.append(1)
        return graph.forward

    compiled = torch.compile(full, backend=backend, fullgraph=True)
    found = [
        iterative_decode(
            rows, torch.full((3, 9), 4), mask_index=4, steps=6, schedule=cosine,
            order=confidence_order(), sample=temperature_sample(), generator=seeded(2),
        )
        for rows in (lambda t, w: compiled(t)[w], lambda t, w: full(t)[w])
    ]  # fmt: skip
    assert torch.equal(*found)
    assert len(graphs) == 1
