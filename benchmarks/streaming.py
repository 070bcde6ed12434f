"""1,024 tokens one by one: with a key-value cache against all layers of all tokens in each step.

    python benchmarks/streaming.py            # three interleaved rounds
    python benchmarks/streaming.py --quick    # one round of 256 tokens

Both sides are `causal_decode` with the same prior and the same uniform numbers, in float32; that
they draw the same tokens is a test's matter, in float64. The loop without a cache computes the head
for the last token only, as anybody would. The second table is the time of a token in each quarter
of the sequence, from the same rounds.
"""

import argparse
import itertools
import statistics
import time
from typing import Any

import torch
from side_by_side import machine
from torch import Tensor

from ssltok.decoding import CausalModel, causal_decode, temperature_sample
from ssltok.nn import CausalTokenTransformer, RotaryPositions, TokenEmbedding, Transformer

CODES, DIM, DEPTH, HEADS = 1024, 128, 4, 4


def prior_of(tokens: int) -> CausalTokenTransformer:
    """A prior of TimeVQVAE's low-frequency size, at random: the time does not depend on weights."""
    torch.manual_seed(0)
    trunk = Transformer(
        DIM, depth=DEPTH, heads=HEADS, causal=True,
        rotary=RotaryPositions(DIM // HEADS, grid=(tokens,)),
    )  # fmt: skip
    embedding = TokenEmbedding(CODES, DIM)
    prior = CausalTokenTransformer(embedding, trunk, tokens=tokens, learned_positions=False)
    return prior.eval()


def recomputing(prior: CausalTokenTransformer) -> CausalModel:
    """The model that remembers tokens alone."""

    def model(
        tokens: Tensor, cache: Tensor | None, /, *, valid: Tensor | None
    ) -> tuple[Tensor, Any]:
        tokens = tokens if cache is None else torch.cat([cache, tokens], dim=1)
        return prior.extend(tokens, valid=valid).logits, tokens

    return model


def timed(model: CausalModel, batch: int, tokens: int) -> list[float]:
    """Draw from nothing; return the start and when each token came, in seconds."""
    prompt = torch.empty(batch, 0, dtype=torch.int64)
    moments = [time.perf_counter()]
    stream = causal_decode(
        model, prompt, codebook_size=CODES, steps=tokens, sample=temperature_sample(),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    for _ in stream:
        moments.append(time.perf_counter())  # noqa: PERF401 - each at its own time
    return moments


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()
    tokens, rounds = (256, 1) if options.quick else (1024, 3)
    prior = prior_of(tokens)
    models: dict[str, CausalModel] = {
        "recomputing": recomputing(prior),
        "cache": prior.extend,
    }
    for model in models.values():
        timed(model, options.batch, 16)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    quarters: dict[str, list[list[float]]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            moments = timed(model, options.batch, tokens)
            seconds[name].append(moments[-1] - moments[0])
            marks = [moments[tokens * part // 4] for part in range(5)]
            quarters[name].append([b - a for a, b in itertools.pairwise(marks)])
    print(f"### {options.batch} x {tokens} tokens, {CODES} codes, {rounds} round(s)\n")
    print("| candidate | seconds | speed-up, round by round |\n| --- | --- | --- |")
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(seconds["recomputing"], times, strict=True)]
        shown = ", ".join(f"{ratio:.1f}" for ratio in ratios)
        print(f"| {name} | {statistics.median(times):.2f} | {shown} |")
    print("\n| ms a token | 1st quarter | 2nd | 3rd | 4th |\n| --- | --- | --- | --- | --- |")
    for name, parts in quarters.items():
        middle = [statistics.median(part) * 4e3 / tokens for part in zip(*parts, strict=True)]
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in middle) + " |")
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
