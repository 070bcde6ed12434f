"""Series with classes: three sets that sktime ships, and one drawn by formula."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok.data import label_index, load_dataset
from ssltok.signal import ChannelScaler

NAMES = ("GunPoint", "BasicMotions", "ItalyPowerDemand", "generated")


class Data(NamedTuple):
    """Scaled series `(cases, channels, length)` and classes `(cases,)`, in two parts."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor

    @property
    def channels(self) -> int:
        """Count the channels."""
        return self.train.shape[1]

    @property
    def length(self) -> int:
        """Count the samples of a series."""
        return self.train.shape[2]

    @property
    def classes(self) -> int:
        """Count the classes."""
        return int(self.train_labels.max()) + 1


def load(name: str, *, split_seed: int | None = None) -> Data:
    """Load a set; with a `split_seed`, only its training part, split in two class by class."""
    data = generated() if name == "generated" else shipped(name)
    if split_seed is not None:
        generator = torch.Generator().manual_seed(split_seed)
        drawn = torch.rand(len(data.train), generator=generator)
        order = (data.train_labels + drawn).argsort()
        kept, held = order[::2], order[1::2]
        data = Data(
            data.train[kept], data.train_labels[kept], data.train[held], data.train_labels[held]
        )
    scaler = ChannelScaler().fit(data.train)
    return data._replace(train=scaler(data.train), test=scaler(data.test))


def shipped(name: str) -> Data:
    """Read a set by its name in the archive; sktime carries the three of `NAMES`."""
    found = load_dataset(name)
    train, test = (torch.as_tensor(part, dtype=torch.float32) for part in (found.train, found.test))
    labels, classes = label_index(found.train_labels, len(train))
    truth, _ = label_index(found.test_labels, len(test), classes=classes)
    return Data(train, labels, test, truth)


def generated(*, train: int = 200, test: int = 400, length: int = 128, seed: int = 0) -> Data:
    """Draw four waveforms: sine, square, rising and falling sawtooth.

    Period, phase and size of the wave, the slow swing that it rides on and the noise tell nothing
    of the class.
    """
    generator = torch.Generator().manual_seed(seed)
    cases = train + test

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(cases, 1, generator=generator)

    t = torch.arange(length).float()
    labels = torch.arange(cases) % 4
    turns = t / uniform(10, 20) + uniform(0, 1)
    sine, saw = (2 * math.pi * turns).sin(), 2 * (turns - turns.floor()) - 1
    waves = torch.stack([sine, sine.sign(), saw, -saw])
    wave = waves[labels, torch.arange(cases)] * uniform(0.7, 1.4)
    swing = uniform(0, 1) * (2 * math.pi * (uniform(0.5, 1.5) * t / length + uniform(0, 1))).sin()
    noise = 0.3 * torch.randn(cases, length, generator=generator)
    series = (wave + swing + noise)[:, None]
    return Data(series[:train], labels[:train], series[train:], labels[train:])
