"""Draw series that have a representation (RCDM), or that go on after examples (in context).

    python examples/ssl/conditioning.py --method in_context --data generated

SimCLR learns an encoder, k-means turns patches into codes, and a prior learns to fill in hidden
codes. `rcdm`: it is told the representation of a series; how often is, of all that it was told,
its own the nearest to that of the draw? `in_context`: two series of a class stand in front. How
often is a draw of the class asked for, by its 5 nearest training series? Beside it: a prior before
training, the trained one told nothing of use, and the series' own codes, the best there is.
"""

import argparse

import torch
from contrastive import simclr
from data import NAMES, load
from loop import train
from prior import CODES, Prior
from recipe import Batch, Recipe
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssltok import decoding, metrics
from ssltok.losses import masked_token_loss
from ssltok.masking import cosine_schedule, schedule_mask


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", choices=("rcdm", "in_context"), default="rcdm")
    parser.add_argument("--data", choices=NAMES, default="generated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(asked.seed)
    contrast = simclr(data := load(asked.data))
    train(contrast, data, min(100, asked.steps))
    prior, known = Prior(data), metrics.encode(contrast.encoder, data.train)

    def represent(series: Tensor) -> Tensor:
        return (metrics.encode(contrast.encoder, series) - known.mean(0)) / (known.std(0) + 1e-6)

    def guess(series: Tensor, labels: Tensor, told: Tensor | float) -> decoding.LogitsFn:
        if asked.method == "in_context":
            return prior.after_examples(labels)
        return decoding.condition_on(prior, told * represent(series))

    def loss_of(batch: Batch, step: int) -> Tensor:
        codes, told = prior.codes(batch.series), torch.rand(len(batch.series), 1) > 0.1
        mask = schedule_mask(tuple(codes.shape), schedule=cosine_schedule)
        logits = guess(batch.series, batch.labels, told)(codes.masked_fill(mask, CODES), mask)
        return masked_token_loss(logits, codes, mask)

    def report(name: str, made: Tensor) -> None:
        found, wanted = represent(made), represent(series)
        nearest = (normalize(found) @ normalize(wanted).T).argmax(1)
        own = (nearest == torch.arange(len(made))).float().mean()
        right = metrics.knn_accuracy(represent(data.train), data.train_labels, found, labels)
        print(f"{name:30}{100 * float(own):11.1f}{100 * float(right):9.1f}", flush=True)

    @torch.no_grad()
    def draw(labels: Tensor, told: float) -> Tensor:
        rules = {"order": decoding.confidence_order(), "sample": decoding.temperature_sample()}
        start = torch.full((len(labels), prior.count), CODES)
        every = {"mask_index": CODES, "steps": 8, "schedule": cosine_schedule, **rules}
        return prior.series(decoding.iterative_decode(guess(series, labels, told), start, **every))

    series, labels = data.test[:200], data.test_labels[:200]
    print(f"{asked.method} on {asked.data}, {asked.steps} steps")
    print("percent of drawn series that lie nearest to their own condition, or in its class")
    print(f"{'':30}own nearest    class")
    report("random prior", draw(labels, 1.0))
    train(Recipe(prior, nn.ModuleList(), loss_of), data, asked.steps)
    prior.eval()
    report("trained prior", draw(labels, 1.0))
    report("trained prior, told nothing", draw(labels[torch.randperm(len(labels))], 0.0))
    report("the series' own codes", prior.series(prior.codes(series)))


if __name__ == "__main__":
    main()
