"""The judge: what every arm of a data set is measured by. It learns from the training part alone.

All rows are those of `ssltok.evaluation.evaluate`: an FCN classifier (features for the Frechet
distance, answers for the inception score) and ROCKET features with a ridge classifier (CAS: train
on synthetic, test on real). Both are made from the training part and a fixed seed, so all arms and
seeds of a split share them; the FCN's weights are kept on disk. The floor is the reference of the
same rows: real series in the place of generated ones.
"""

import os
import pathlib
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from benchmarks.studies.ssl_tokens.data import Split, stratified_part
from torch import Tensor

from ssltok.evaluation import FCNJudge, Report, RidgeJudge, evaluate, fidelity_measures
from ssltok.metrics import FCNEncoder, RocketEncoder
from ssltok.training import keyed_generator

__all__ = ["ROWS", "Judge", "JudgeSettings"]

ROWS = {
    "fid": "Frechet distance (FCN)",
    "fid_rocket": "Frechet distance (ROCKET)",
    "is": "inception score (FCN)",
    "cas": "CAS, ridge (ROCKET)",
    "cas_all": "CAS of all generated, ridge (ROCKET)",
    "recognised": "train on real, test on synthetic",
}
"""The columns of the study, and the rows of the report that they are."""


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

    Attributes:
        own: The training series that count, at most `most_generated`, class by class.
        target: The test series that the prior's loss is measured on, at most `most_frechet`.
    """

    def __init__(
        self, split: Split, settings: JudgeSettings, *, cache: pathlib.Path | None = None
    ) -> None:
        self.split, self.settings = split, settings
        self.fcn = _fitted_fcn(split, settings, cache)
        share = min(1.0, settings.most_generated / len(split.train_labels))
        generator = keyed_generator(0, f"judge train {split.name}")
        own = stratified_part(split.train_labels, share, generator, whole_if_small=False)
        self.own = own[torch.randperm(len(own), generator=generator)]
        share = min(1.0, settings.most_frechet / len(split.test_labels))
        generator = keyed_generator(0, f"judge test {split.name}")
        self.target = stratified_part(split.test_labels, share, generator, whole_if_small=False)

    @property
    def wanted(self) -> Tensor:
        """Labels to generate: whole copies of the (capped) training labels, as many as allowed."""
        labels = self.split.train_labels[self.own]
        return labels.repeat(max(1, self.settings.most_generated // len(labels)))

    def report(self, series: Tensor, labels: Tensor) -> Report:
        """Evaluate series with these labels: every row of the judges, and of ROCKET features."""
        train, test = self.split.train.values, self.split.test.values
        _, channels, length = train.shape
        return evaluate(
            train[self.own], test, series,
            train_labels=self.split.train_labels[self.own],
            test_labels=self.split.test_labels,
            generated_labels=labels,
            encoder=RocketEncoder(channels, length, kernels=self.settings.kernels, seed=0),
            measures=(fidelity_measures, FCNJudge(classifier=self.fcn), RidgeJudge()),
        )  # fmt: skip

    def figures(self, series: Tensor, labels: Tensor) -> dict[str, float]:
        """The study's columns for series with these labels; NaN where a row is skipped."""
        report = self.report(series, labels)
        return {column: report[name].value for column, name in ROWS.items()}

    @cached_property
    def _of_real(self) -> Report:
        """Training series in the place of generated ones: the references, whatever is judged."""
        own = self.own
        return self.report(self.split.train.values[own], self.split.train_labels[own])

    @property
    def floor(self) -> dict[str, float]:
        """What real series get in each column."""
        return {column: self._of_real[name].reference for column, name in ROWS.items()}

    @property
    def cases(self) -> dict[str, int]:
        """Series that were scored in a column, with at least as many generated as `own`."""
        return {column: self._of_real[ROWS[column]].cases for column in ("fid", "fid_rocket", "is")}


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
