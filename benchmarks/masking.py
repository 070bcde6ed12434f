"""What a mask sampler costs beside `random_mask`, the cheapest: in one process, in turns.

    python benchmarks/masking.py [--rounds 11 --threads 1]

A ratio below 1 says how many times slower than `random_mask` of the same shape and share. Half the
tokens are masked; grids are near square, and one row where the shape is a long series.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from side_by_side import machine, side_by_side, table
from torch import Tensor

import ssltok.masking as ours

# batch, rows and columns of the grid: BEiT's pictures, a batch of spectrograms, four long series.
SHAPES = ((64, 14, 14), (32, 4, 64), (4, 1, 4000), (4, 40, 100))


def samplers(rows: int, columns: int) -> dict[str, Callable[..., object]]:
    """The samplers of a share of the tokens, and of boxes and spans, by name."""
    grid = (rows, columns)
    sampled: dict[str, Callable[..., object]] = {
        "random_mask": partial(ours.random_mask, ratio=0.5),
        "block_mask": partial(ours.block_mask, ratio=0.5, grid=grid),
        "multiblock_mask": partial(ours.multiblock_mask, grid=grid),
        "unit_mask": partial(ours.unit_mask, ratio=0.5, unit=(1, 2), grid=grid),
        "span_mask": partial(ours.span_mask, ratio=0.5, length=8),
        "markov_mask": partial(ours.markov_mask, ratio=0.5, span=8),
        "split_mask": ours.split_mask,
    }
    return sampled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for batch, rows, columns in SHAPES:
        shape = (batch, rows * columns)

        def run(sampler: Callable[..., Tensor], shape: tuple[int, int] = shape) -> object:
            return sampler(shape)

        candidates = {
            name: partial(run, sampler) for name, sampler in samplers(rows, columns).items()
        }
        title = f"{batch} x {rows * columns} tokens, a grid of {rows} x {columns}"
        print(table(title, side_by_side(candidates, rounds=options.rounds)) + "\n")
    print(f"{machine()}; {options.rounds} rounds")


if __name__ == "__main__":
    main()
