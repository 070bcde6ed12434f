"""Judge an encoder: what are its features worth, with all labels, with few, and elsewhere?

    python examples/ssl/evaluate.py --data generated

An encoder learns from the training part without labels (SimCLR) and stands beside itself as it was
at the start: neighbours and linear classifiers on frozen features, a hundredth and a tenth of the
labels (at least one of each class), fine-tuning, and the same on another set, `--transfer`.
"""

import argparse
import copy

import torch
from contrastive import simclr
from data import Data, load
from loop import train
from torch import Tensor, nn

from ssltok import metrics


def frozen(encoder: nn.Module, data: Data) -> dict[str, Tensor]:
    """Score frozen features by each probe; few labels are drawn five times."""
    known, unseen = metrics.encode(encoder, data.train), metrics.encode(encoder, data.test)
    parts = known, data.train_labels, unseen, data.test_labels

    def few(share: float) -> Tensor:
        draws = torch.Generator().manual_seed(0)
        return metrics.few_label_accuracy(*parts, share=share, generator=draws)

    return {
        "5 nearest neighbours": metrics.knn_accuracy(*parts),
        "linear probe": metrics.linear_probe_accuracy(*parts),
        "linear SVM": metrics.svm_probe_accuracy(*parts),
        "1 % of the labels": few(0.01),
        "10 % of the labels": few(0.1),
    }


def fine_tuned(encoder: nn.Module, data: Data, steps: int) -> Tensor:
    """Score the encoder when all of it may move, three times."""
    draws = torch.Generator().manual_seed(0)
    parts = data.train, data.train_labels, data.test, data.test_labels
    return metrics.fine_tune_accuracy(encoder, *parts, steps=steps, generator=draws)


def percent(accuracies: Tensor) -> str:
    values = 100 * accuracies.reshape(-1)
    return f"{values.mean():5.1f}" + (f" +- {values.std():4.1f}" if len(values) > 1 else " " * 8)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="generated")
    parser.add_argument("--transfer", default="GunPoint", help="a set with as many channels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=150)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(asked.seed)
    data, other = load(asked.data), load(asked.transfer)
    recipe = simclr(data)
    random = copy.deepcopy(recipe.encoder)
    train(recipe, data, asked.steps)
    print("percent of unseen series whose class is told, by what may learn from the features")
    for title, judged in {asked.data: data, f"transfer to {asked.transfer}": other}.items():
        print(f"{title:30}random          trained")
        rows = [
            frozen(encoder, judged)
            | {"fine-tuned": fine_tuned(encoder, judged, min(asked.steps, 60))}
            for encoder in (random, recipe.encoder)
        ]
        for name in rows[0]:
            print(f"  {name:24}" + "  ".join(percent(row[name]) for row in rows))


if __name__ == "__main__":
    main()
