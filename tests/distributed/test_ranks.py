"""The pool of ranks itself: an answer that comes too late is not taken for the next one."""

import time

import pytest

from tests import ranks
from tests.ranks import Ranks


def late(word: str) -> str:
    time.sleep(0.3)
    return word


def soon(word: str) -> str:
    return word


def test_a_late_reply_is_not_the_next_ones(
    two_ranks: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as hurry:
        hurry.setattr(ranks, "SECONDS", 0.05)
        with pytest.raises(TimeoutError, match="rank 0 did not answer"):
            two_ranks.run(late, ("old",), ("old",))
    assert two_ranks.run(soon, ("a",), ("b",)) == ["a", "b"]


def test_an_error_of_one_rank_is_told_and_the_pool_goes_on(two_ranks: Ranks) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)rank 1: .*ZeroDivisionError"):
        two_ranks.run(divmod, (1, 1), (1, 0))
    assert two_ranks.run(soon, ("c",), ("d",)) == ["c", "d"]
