"""The judge: what every arm of a data set is measured by. It learns from the training part alone.

An FCN classifier (features for the Frechet distance, answers for the inception score) and ROCKET
features with a ridge classifier (CAS: train on synthetic, test on real). Both are made from the
training part and a fixed seed, so all arms and seeds of a split share them; the FCN's weights are
kept on disk. The real series' own figures are the noise floor.
"""

import os
import pathlib
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from benchmarks.studies.ssl_tokens.data import Split, stratified_part
from torch import Tensor

from ssltok.metrics import (
    FCNEncoder,
    RocketEncoder,
    encode,
    frechet_distance,
    inception_score,
)
from ssltok.training import keyed_generator

__all__ = ["Judge", "JudgeSettings"]


class JudgeSettings(NamedTuple):
    """Sizes of the judge; part of every cell's record."""

    fcn_steps: int = 300
    fcn_width: int = 64
    kernels: int = 500
    most_frechet: int = 300
    most_generated: int = 300


class Judge:
    """Measures generated series of one split.

    Args:
        split: What it learns from (`train`) and judges by (`test`).
        settings: Sizes.
        cache: Folder for the FCN's weights; None keeps nothing.
    """

    def __init__(
        self, split: Split, settings: JudgeSettings, *, cache: pathlib.Path | None = None
    ) -> None:
        self.split, self.settings = split, settings
        self.fcn = _fitted_fcn(split, settings, cache)
        shape = split.train.values.shape
        self.rocket = RocketEncoder(shape[1], shape[2], kernels=settings.kernels, seed=0)
        x = split.train.values.double()
        self.mean = x.mean((0, 2), keepdim=True).float()
        self.std = x.std((0, 2), keepdim=True).clamp_min(1e-8).float()
        share = min(1.0, settings.most_generated / len(x))
        some = keyed_generator(0, f"judge train {split.name}")
        own = stratified_part(split.train_labels, share, some, whole_if_small=False)
        self.own = own[torch.randperm(len(own), generator=some)]  # any first part is balanced
        share = min(1.0, settings.most_frechet / len(split.test_labels))
        some = keyed_generator(0, f"judge test {split.name}")
        self.target = stratified_part(split.test_labels, share, some, whole_if_small=False)
        self.features: dict[str, dict[str, Tensor]] = {
            "train": self.describe(split.train.values[self.own]),
            "test": self.describe(split.test.values),
        }

    @property
    def wanted(self) -> Tensor:
        """Labels to generate: whole copies of the (capped) training labels, as many as allowed."""
        labels = self.split.train_labels[self.own]
        return labels.repeat(max(1, self.settings.most_generated // len(labels)))

    def describe(self, series: Tensor) -> dict[str, Tensor]:
        """Features of series in their own units."""
        hidden = encode(self.fcn, series)
        rocket = encode(self.rocket, (series - self.mean) / self.std)
        logits = self.fcn.network.head(hidden).detach()
        return {"fcn": hidden, "logits": logits, "rocket": rocket}

    def generative(self, features: dict[str, Tensor], labels: Tensor) -> dict[str, float]:
        """Measure a set of series by its features: Frechet distances, inception score, CAS.

        The Frechet distances and the score are of as many series as there are targets, or of all
        if there are fewer. CAS is the mean over the copies of the training labels that fit; "CAS,
        all" learns from all series at once.
        """
        real = {k: v[self.target] for k, v in self.features["test"].items()}
        made = {k: v[: len(self.target)] for k, v in features.items()}
        centre = self.features["train"]["rocket"].mean(0)
        width = self.features["train"]["rocket"].std(0).clamp_min(1e-6)
        near = [((part["rocket"] - centre) / width).double() for part in (real, made)]
        size = len(self.own)
        copies = [slice(first, first + size) for first in range(0, len(labels), size)]
        accuracies = [self._transfer(features["rocket"][c], labels[c]) for c in copies]
        found = {
            "fid": float(frechet_distance(real["fcn"].double(), made["fcn"].double())),
            "fid_rocket": float(frechet_distance(*near)) / near[0].shape[1],
            "is": float(inception_score(made["logits"].double())[0]),
            "cas": float(np.mean(accuracies)),
            "cas_all": self._transfer(features["rocket"], labels),
            "recognised": float((features["logits"].argmax(1) == labels).double().mean()),
        }
        return found

    @cached_property
    def floor(self) -> dict[str, float]:
        """What real training series would get; `recognised` is that of the test series."""
        labels = self.split.train_labels[self.own]
        found = self.generative(self.features["train"], labels)
        test = self.features["test"]["logits"]
        found["is"] = float(inception_score(test[self.target].double())[0])
        found["recognised"] = float((test.argmax(1) == self.split.test_labels).double().mean())
        return found

    @cached_property
    def halves(self) -> dict[str, float]:
        """The Frechet distance of two halves of the targets: the floor at half the cases."""
        order = torch.randperm(len(self.target), generator=keyed_generator(0, "halves"))
        hidden = self.features["test"]["fcn"][self.target[order]].double()
        middle = len(order) // 2
        if middle < 2:
            return {}
        return {"fid_halves": float(frechet_distance(hidden[:middle], hidden[middle:]))}

    def _transfer(self, features: Tensor, labels: Tensor) -> float:
        """Accuracy on the test series of a ridge classifier of these features."""
        from sklearn.linear_model import RidgeClassifierCV

        known = torch.unique(labels)
        truth = self.split.test_labels
        if len(known) == 1:
            return float((truth == known[0]).double().mean())
        x = features.double()
        mean, std = x.mean(0), x.std(0, correction=0)
        std = std.masked_fill(std < 1e-9, torch.inf)
        model = RidgeClassifierCV(alphas=np.logspace(-3, 3, 7))
        model.fit(((x - mean) / std).numpy(), labels.numpy())
        said = model.predict(((self.features["test"]["rocket"].double() - mean) / std).numpy())
        return float((said == truth.numpy()).mean())


def _fitted_fcn(split: Split, settings: JudgeSettings, cache: pathlib.Path | None) -> FCNEncoder:
    """Fit the classifier, or read the one that was fitted on the same training series."""
    steps, width = settings.fcn_steps, settings.fcn_width
    channels = split.train.values.shape[1]
    place = None
    if cache is not None:
        place = cache / f"fcn-{split.train_digest()[:20]}-{steps}-{width}.npz"
        if place.is_file():
            classes = int(split.train_labels.max()) + 1
            fcn = FCNEncoder(channels, classes, width=width)
            with np.load(place, allow_pickle=False) as file:
                fcn.load_state_dict({k: torch.from_numpy(file[k]) for k in file.files})
            return fcn
    generator = keyed_generator(0, f"judge {split.name}")
    fcn = FCNEncoder.fit(
        split.train.values, split.train_labels, steps=steps, width=width, generator=generator
    )
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name(f".{place.stem}-{os.getpid()}.npz")
        np.savez(draft, **{k: v.numpy() for k, v in fcn.state_dict().items()})
        os.replace(draft, place)
    return fcn
