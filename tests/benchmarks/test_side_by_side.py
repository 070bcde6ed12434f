"""The memory that a benchmark reports: known sizes, and blocks from before that are let go."""

import torch
from benchmarks.side_by_side import peak_extra_mib

MIB = 2**18  # so many float32 numbers


def test_the_peak_is_what_lives_at_once() -> None:
    def call() -> torch.Tensor:
        first = torch.empty(3 * MIB)
        del first
        second = torch.empty(2 * MIB)
        third = torch.empty(5 * MIB)
        del third
        return second

    assert peak_extra_mib(call) == 7.0


def test_what_an_earlier_call_left_does_not_count_against_the_next() -> None:
    kept: list[torch.Tensor] = []

    def call() -> None:
        kept.clear()  # lets go of what the call before this one made, of a size known by then
        kept.append(torch.empty(4 * MIB))

    assert [peak_extra_mib(call) for _ in range(3)] == [4.0, 4.0, 4.0]
