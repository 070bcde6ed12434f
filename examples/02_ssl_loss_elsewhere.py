"""One loss in somebody else's training code: their encoder, their loop, one line from here.

    python examples/02_ssl_loss_elsewhere.py --steps 150

A loss is a function of two tensors. The encoder below knows nothing of ssltok; it learns from
unlabelled GunPoint motions that two views of one motion are the same, and the nearest
neighbours among its frozen features then say how much they tell about the class.
"""

import argparse

import torch
from torch import Tensor, nn

from ssltok.augment import NC_VQVAE_WARP
from ssltok.data import label_index, load_dataset
from ssltok.losses import barlow_twins_loss
from ssltok.metrics import knn_accuracy


def build_encoder() -> nn.Module:
    """Map series `(batch, 1, length)` to features `(batch, 64)`: any network would do."""
    return nn.Sequential(
        nn.Conv1d(1, 32, 7, stride=2, padding=3), nn.BatchNorm1d(32), nn.ReLU(),
        nn.Conv1d(32, 64, 5, stride=2, padding=2), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Conv1d(64, 64, 3, padding=1), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
    )  # fmt: skip


def standardize(series: Tensor) -> Tensor:
    """Scale each series to mean 0 and variance 1."""
    return (series - series.mean(-1, keepdim=True)) / series.std(-1, keepdim=True)


def train(encoder: nn.Module, series: Tensor, steps: int) -> None:
    """Train as one would with any loss."""
    projector = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128))
    parameters = [*encoder.parameters(), *projector.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    for step in range(steps):
        batch = series[torch.randperm(len(series))[:32]]
        view_a, view_b = NC_VQVAE_WARP(batch), NC_VQVAE_WARP(batch)
        loss = barlow_twins_loss(projector(encoder(view_a)), projector(encoder(view_b)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % max(steps // 5, 1) == 0:
            print(f"step {step:4}: loss {loss:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    data = load_dataset("GunPoint")
    series, unseen = (
        standardize(torch.tensor(part, dtype=torch.float32)) for part in (data.train, data.test)
    )
    labels, classes = label_index(data.train_labels, len(series))
    truth, _ = label_index(data.test_labels, len(unseen), classes=classes)
    encoder = build_encoder()

    def probe() -> float:
        encoder.eval()
        with torch.no_grad():
            features, held = encoder(series), encoder(unseen)
        encoder.train()
        return float(knn_accuracy(features, labels, held, truth))

    print("share of unseen motions whose class the nearest neighbours among the features tell:")
    print(f"before training {probe():.0%}", flush=True)
    train(encoder, series, steps)
    print(f"after training {probe():.0%}, without having seen a label")


if __name__ == "__main__":
    main()
