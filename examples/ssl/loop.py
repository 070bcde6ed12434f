"""The loop that every recipe shares: follow a loss on series, then ask what the features tell."""

import argparse
import copy

import torch
from data import NAMES, Data, load
from encoders import DIM
from recipe import Batch, Method, Recipe
from torch import nn
from torch.nn.functional import cross_entropy

from ssltok.metrics import encode, knn_accuracy, linear_probe_accuracy
from ssltok.optim import warmup_cosine_schedule as schedule


def train(recipe: Recipe, data: Data, steps: int) -> None:
    trained = nn.ModuleList([recipe.encoder, recipe.parts]).train()
    optimizer = torch.optim.AdamW(trained.parameters(), weight_decay=0.01, fused=True)
    rate = {"steps": steps, "start": recipe.learning_rate, "warmup_steps": steps // 10}
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = schedule(step, **rate)
        rows = torch.randperm(len(data.train))[:32]
        loss = recipe.loss_of(Batch(data.train[rows], data.train_labels[rows]), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recipe.after_step(step)


def score(encoder: nn.Module, data: Data) -> tuple[float, float]:
    """Percent right by 5 nearest neighbours, and by a linear probe, on frozen features."""
    known, unseen = encode(encoder, data.train), encode(encoder, data.test)
    parts = known, data.train_labels, unseen, data.test_labels
    return 100 * float(knn_accuracy(*parts)), 100 * float(linear_probe_accuracy(*parts))


def supervised(encoder: nn.Module, data: Data) -> Recipe:
    """The same encoder, told every label: what a method may hope for."""
    head = nn.Linear(DIM, data.classes)
    return Recipe(encoder, head, lambda b, _: cross_entropy(head(encoder(b.series)), b.labels))


def main(methods: dict[str, Method]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", choices=methods, default=next(iter(methods)))
    parser.add_argument("--data", default=NAMES[0], help="a name that sktime knows, or: generated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="by default what the recipe says")
    asked = parser.parse_args()
    torch.set_num_threads(1)  # the networks are so small that threads cost more than they give
    torch.manual_seed(asked.seed)
    recipe = methods[asked.method](data := load(asked.data))
    steps, bound = asked.steps or recipe.steps, supervised(copy.deepcopy(recipe.encoder), data)
    print(f"{asked.method} on {asked.data}, {steps} steps; percent of unseen series whose class")
    print(f"the frozen features tell:\n{'':18}k-NN  linear probe")
    print("random encoder  {:6.1f} {:8.1f}".format(*score(recipe.encoder, data)), flush=True)
    for name, one in {"after training": recipe, "supervised bound": bound}.items():
        train(one, data, steps)
        print("{:16}{:6.1f} {:8.1f}".format(name, *score(one.encoder, data)), flush=True)
