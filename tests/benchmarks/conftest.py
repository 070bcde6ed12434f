"""Tests of the benchmarks."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="package")
def _fast_collections() -> Iterator[None]:
    """The engine collects all garbage after each stage: leave it only what is new."""
    gc.freeze()
    yield
    gc.unfreeze()
