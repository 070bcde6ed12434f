"""One Hypothesis profile, one thread, and a pair of gloo ranks kept warm for the session."""

import gc
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from tests.ranks import Ranks

settings.register_profile("ssltok", deadline=None, derandomize=True, max_examples=20)
settings.load_profile("ssltok")
torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def frozen() -> None:
    """What is there before a file's tests is not searched for garbage again.

    accelerate collects after each stage of a fit: a quarter of a second for a million objects of
    torch, pandas and the tests themselves, and most of what a fit of three steps takes.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def two_ranks() -> Iterator[Ranks]:
    """Two processes that share a gloo group; `two_ranks.run(function, args_0, args_1)`."""
    ranks = Ranks(2)
    yield ranks
    ranks.close()


@pytest.fixture
def quick_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward derivatives at once: else torch first scripts those of operations not used here.

    That takes a quarter of a minute in each process of tests.
    """
    monkeypatch.setenv("PYTORCH_JIT", "0")
