"""Randomness depends on (seed, purpose, step) and on nothing else."""

from typing import Any

import torch

from ssltok.training import keyed_generator, keyed_seed, ordered_batch


def test_keys_differ_in_every_part() -> None:
    keys: list[Any] = [
        (0, "a", 1),
        (1, "a", 1),
        (0, "b", 1),
        (0, "a", 2),
        (0, "a", 1, 1),
        (0, "a", 11),
    ]
    assert len({keyed_seed(*key) for key in keys}) == len(keys)
    assert 0 <= keyed_seed(3, "x") < 2**63


def test_a_generator_repeats_and_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    draws = [torch.randn(3, generator=keyed_generator(5, "x", 2)) for _ in range(2)]
    assert torch.equal(*draws)
    assert torch.equal(before, torch.get_rng_state())


def test_the_stream_is_one_shuffle_after_another() -> None:
    stream = torch.cat([ordered_batch(7, 3, seed=1, purpose="o", step=step) for step in range(14)])
    epochs = stream.reshape(6, 7)
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 6
    larger = ordered_batch(7, 21, seed=1, purpose="o", step=1)
    assert torch.equal(larger, stream[21:42])


def test_the_order_depends_on_seed_and_purpose() -> None:
    a = ordered_batch(50, 50, seed=1, purpose="o", step=0)
    assert not torch.equal(a, ordered_batch(50, 50, seed=2, purpose="o", step=0))
    assert not torch.equal(a, ordered_batch(50, 50, seed=1, purpose="p", step=0))
