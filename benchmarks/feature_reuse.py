"""Features of settled places reused between steps (ReCAP): what it saves at our sizes, and costs.

    python benchmarks/feature_reuse.py                  # random priors of the presets' sizes
    python benchmarks/feature_reuse.py --model FOLDER   # a trained model's prior as well

A full step computes every token and keeps each layer's keys and values. The steps after it, until
the next full one, compute only the places that were open then, and read the others' keys and values
as they were. Reuse of 1 is a full step each time, and must be the plain decoder bit for bit; the
error of more is the total variation between the distributions of partial steps and those of the
full model on the same tokens, a mean over open places. Not in the library: the page of results says
why.

References:
    Liu et al., *Plug-and-play context feature reuse for efficient masked generation*, 2025,
    <https://arxiv.org/abs/2505.19089>.
"""

import argparse
import pathlib
from typing import Any

import torch
from side_by_side import machine, side_by_side, table
from torch import Tensor
from torch.nn import functional

from ssltok.decoding import confidence_order, iterative_decode, temperature_sample
from ssltok.masking import cosine_schedule
from ssltok.nn import TokenTransformer
from ssltok.pipelines import SSLTokenizer, build_prior, build_tokenizer, resolve_preset
from ssltok.training import seeded

SAMPLES = 64


class Reused:
    """The logits of a prior without labels and context, most steps of which are partial."""

    def __init__(self, prior: TokenTransformer, reuse: int, *, errors: bool = False) -> None:
        self.prior, self.reuse, self.errors = prior, reuse, errors
        self.step, self.distances = 0, list[float]()
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.features = torch.zeros(0)
        self.places = torch.zeros(0)

    @torch.no_grad()
    def __call__(self, tokens: Tensor, where: Tensor) -> Tensor:
        """Answer as the decoder asks."""
        full = self.step % self.reuse == 0
        self.step += 1
        if full:
            count = int(where[0].sum())  # a run from nothing: equally many in every row
            self.places = torch.nonzero(where)[:, 1].view(len(tokens), count)
        result = self._logits(tokens, where, full=full)
        if self.errors and not full:
            exact = self.prior(tokens, where)
            self.distances.append(
                float((result.softmax(-1) - exact.softmax(-1)).abs().sum(-1).mean() / 2)
            )
        return result

    def _logits(self, tokens: Tensor, where: Tensor, *, full: bool) -> Tensor:
        prior, rows = self.prior, torch.arange(len(tokens))[:, None]
        x = prior.norm(prior.embedding(tokens) + prior.positions[: tokens.shape[1]])
        prefix = 0
        if prior.labels is not None:
            x = torch.cat([prior.labels[-1].expand(len(x), 1, -1), x], dim=1)
            prefix = 1
        if not full:
            x = x[rows, self.places + prefix]
        for number, layer in enumerate(prior.trunk.layers):
            normed, attention = layer.attention_norm(x), layer.attention
            query, keys, values = attention._split(normed)
            if full:
                self.keys[number:], self.values[number:] = [keys], [values]
            else:
                index = (self.places + prefix)[:, None, :, None].expand_as(keys)
                keys = self.keys[number].scatter(2, index, keys)
                values = self.values[number].scatter(2, index, values)
            mixed = functional.scaled_dot_product_attention(query, keys, values)
            x = x + attention.outward(mixed.transpose(1, 2).flatten(2))
            x = x + layer.mlp(layer.mlp_norm(x))
        x = prior.trunk.last_norm(x)
        asked = where if full else where.gather(1, self.places)
        return prior.head(x[:, prefix:][asked] if full else x[asked])


def decode(prior: TokenTransformer, logits: Any, steps: int) -> Tensor:
    """Fill `SAMPLES` rows from nothing."""
    codes = prior.codebook_size
    return iterative_decode(
        logits, torch.full((SAMPLES, prior.tokens), codes), mask_index=codes, steps=steps,
        schedule=cosine_schedule, order=confidence_order(temperature=4.0),
        sample=temperature_sample(), generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def compare(name: str, prior: TokenTransformer, *, steps: int, rounds: int) -> None:
    """Print times and errors of one prior."""
    exact = decode(prior, prior, steps)
    assert torch.equal(decode(prior, Reused(prior, 1), steps), exact), "reuse 1 is not exact"
    contenders = {"plain": lambda: decode(prior, prior, steps)}
    for reuse in (1, 2, 4):
        contenders[f"full step every {reuse}"] = lambda r=reuse: decode(
            prior, Reused(prior, r), steps
        )
    timings = side_by_side(contenders, rounds=rounds)
    print(table(f"{name}: {SAMPLES} rows of {prior.tokens} tokens, {steps} steps", timings))
    for reuse in (2, 4):
        reused = Reused(prior, reuse, errors=True)
        decode(prior, reused, steps)
        mean = sum(reused.distances) / len(reused.distances)
        print(f"- every {reuse}: total variation {mean:.3f} in the mean of partial steps, "
              f"{max(reused.distances):.3f} at most")  # fmt: skip


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, help="a folder of SSLTokenizer.save")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--presets", nargs="*", default=["compact", "nc_vqvae"])
    parser.add_argument("--steps", type=int, nargs="*", default=[10, 40])
    said = parser.parse_args()
    torch.set_num_threads(1)
    priors = {}
    for preset in said.presets:
        config = resolve_preset("feature_reuse", preset)
        tokenizer = build_tokenizer(config.tokenizer, channels=1, length=128)
        with seeded(0):
            priors[f"{preset}, random"] = build_prior(config.prior, tokenizer, classes=2)
    if said.model is not None:
        priors[str(said.model.name)] = SSLTokenizer.load(said.model).artifact_.prior
    for name, prior in priors.items():
        for steps in said.steps:
            compare(name, prior.eval().transformer(0), steps=steps, rounds=said.rounds)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
