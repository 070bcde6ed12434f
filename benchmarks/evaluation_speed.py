"""How long, and in how much memory, are 10,000 series of length 512 evaluated?

    python benchmarks/evaluation_speed.py

Three sets of that size (random walks), without the trained scores and the figures. The promise is
two minutes on two cores and 4 GiB.
"""

import argparse
import resource
import time

import torch
from side_by_side import machine
from torch import Tensor

from ssltok.evaluation import evaluate


def walks(cases: int, length: int, seed: int) -> Tensor:
    """Random walks of about unit scale."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(cases, 1, length, generator=generator).cumsum(2) / length**0.5


def main() -> None:
    """Measure once, and print a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--length", type=int, default=512)
    options = parser.parse_args()
    sets = [walks(options.cases, options.length, seed) for seed in range(3)]
    began, worked = time.perf_counter(), time.process_time()
    evaluate(*sets, progress=True)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{options.cases} x {options.length}: {seconds:.0f} s, {cpu:.0f} s of CPU, "
        f"peak {peak:.2f} GiB resident; {machine()}"
    )


if __name__ == "__main__":
    main()
