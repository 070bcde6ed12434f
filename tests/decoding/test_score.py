"""Scores: the pseudo-likelihood of an enumerated joint, whatever the batching; and the way back."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from ssltok.decoding import LogitsFn, critical_reverse, score, self_token_critic
from tests.decoding.test_iterative import conditionals


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_joint(tokens: int, seed: int = 0) -> Tensor:
    joint = torch.rand((3,) * tokens, generator=seeded(seed), dtype=torch.float64).pow(2)
    return joint / joint.sum()


def linear(progress: Tensor) -> Tensor:
    return 1 - progress


# oracle


def test_leaving_one_out_is_the_enumerated_pseudo_likelihood() -> None:
    joint = some_joint(4)
    rows = torch.tensor(list(itertools.product(range(3), repeat=4)))[::7]
    found = score(conditionals(joint), rows, mask_index=3)
    for row, surprise in zip(rows.tolist(), found.surprise, strict=True):
        for i in range(4):
            others = [joint[(*row[:i], k, *row[i + 1 :])] for k in range(3)]
            expected = -math.log(others[row[i]] / sum(others))
            assert float(surprise[i]) == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(found.log_likelihood, -found.surprise.sum(dim=1))


def test_strided_groups_hide_together() -> None:
    joint = some_joint(4, seed=1)
    row = torch.tensor([[2, 0, 1, 1]])
    found = score(conditionals(joint), row, mask_index=3, stride=2).surprise[0]
    for i in range(4):
        pair = [i, (i + 2) % 4]
        index = tuple(slice(None) if j in pair else int(row[0, j]) for j in range(4))
        table = joint[index]
        table = table.sum(dim=1 if i < 2 else 0)
        expected = -math.log(table[int(row[0, i])] / table.sum())
        assert float(found[i]) == pytest.approx(expected, rel=1e-5)


# laws


@pytest.mark.parametrize("stride", [None, 1, 2, 3, 9])
@pytest.mark.parametrize("groups", [1, 2, 5])
def test_batching_groups_changes_nothing(stride: int | None, groups: int) -> None:
    joint = some_joint(5, seed=2)
    rows = torch.randint(3, (6, 5), generator=seeded(3))
    rows[0, 3:] = -1
    rows[1, 2] = 3
    calls: list[int] = []
    inner = conditionals(joint)

    def logits_fn(tokens: Tensor, where: Tensor) -> Tensor:
        calls.append(len(tokens))
        assert ((tokens == 3) >= where).all()
        return inner(tokens.clamp(min=0), where)

    alone = score(inner_clamped(inner), rows, mask_index=3, stride=stride)
    found = score(logits_fn, rows, mask_index=3, stride=stride, groups=groups)
    torch.testing.assert_close(found.surprise, alone.surprise)
    number = min(stride or 5, 5)
    assert len(calls) == math.ceil(number / groups)
    assert max(calls) == 6 * min(groups, number)
    assert (found.surprise[0, 3:] == 0).all()
    assert found.surprise[1, 2] == 0
    assert (found.surprise[2:] > 0).all()


def inner_clamped(inner: LogitsFn) -> LogitsFn:
    return lambda tokens, where: inner(tokens.clamp(min=0), where)


def test_where_limits_what_is_scored_and_hidden() -> None:
    where = torch.tensor([[True, False, False, True]])
    joint = some_joint(4, seed=4)
    row = torch.tensor([[2, 0, 1, 1]])
    whole = score(conditionals(joint), row, mask_index=3).surprise
    part = score(conditionals(joint), row, mask_index=3, where=where).surprise
    torch.testing.assert_close(part, whole * where)
    critic = self_token_critic(conditionals(joint), mask_index=3, groups=4)
    torch.testing.assert_close(critic(row), -whole)


@pytest.mark.parametrize("logit", [6.0, 0.85, 0.1])
def test_going_back_stops_where_context_no_longer_helps(logit: float) -> None:
    """The last three places are the surer ones, by much or by little; the others toss a coin."""

    def logits_fn(tokens: Tensor, where: Tensor) -> Tensor:
        sure = torch.arange(tokens.shape[1]).expand_as(tokens)[where] >= 3
        return torch.stack([sure * logit, torch.zeros(len(sure))], dim=1)

    tokens = torch.tensor([[0] * 6, [0] * 6, [-1] * 6])
    scores = torch.arange(6.0).expand(3, 6).clone()
    scores[1] = scores[1].flip(0)  # the second row takes the sure tokens back first
    found = critical_reverse(
        logits_fn, tokens, scores, mask_index=2, steps=6, schedule=linear, window=1
    )
    # row 0: error ln 2 stays, then falls: back to level 1; row 1: falls to rise at place 2: stop
    assert found.tolist() == [[2, 2, 2, 2, 2, 0], [0, 0, 0, 2, 2, 2], [-1] * 6]


def test_given_tokens_are_not_taken_back() -> None:
    given = torch.tensor([[True, False, False, False]])
    found = critical_reverse(
        lambda tokens, where: torch.zeros(int(where.sum()), 2), torch.tensor([[0, 1, 1, 0]]),
        torch.tensor([[0.0, 1.0, 2.0, 3.0]]), mask_index=2, steps=3, schedule=linear, given=given,
    )  # fmt: skip
    assert found.tolist() == [[0, 2, 2, 0]]


# complaints


def test_complaints() -> None:
    row = torch.tensor([[0, 1]])
    coin = lambda tokens, where: torch.zeros(int(where.sum()), 2)  # noqa: E731
    with pytest.raises(ValueError, match=r"^score: stride must be >= 1; got 0$"):
        score(coin, row, mask_index=2, stride=0)
    with pytest.raises(ValueError, match=r"^score: groups must be >= 1; got 0$"):
        score(coin, row, mask_index=2, groups=0)
    with pytest.raises(ValueError, match=r"^score: tokens must be int64; got torch.float32$"):
        score(coin, row.float(), mask_index=2)
    said = r"^score: logits must be \(hidden places, mask_index\) = \(1, 3\); got \(1, 2\)$"
    with pytest.raises(ValueError, match=said):
        score(coin, row, mask_index=3)
    with pytest.raises(ValueError, match=r"^critical_reverse: steps must be >= 2; got 1$"):
        critical_reverse(coin, row, row.float(), mask_index=2, steps=1, schedule=linear)
    with pytest.raises(ValueError, match=r"^critical_reverse: scores must have shape \(1, 2\)"):
        critical_reverse(coin, row, row[0].float(), mask_index=2, steps=3, schedule=linear)
