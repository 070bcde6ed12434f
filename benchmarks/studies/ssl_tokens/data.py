"""Series for a cell: a folder of .npz files, data sets by name, or arrays; and their splits."""

import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok.data import Dataset, SeriesSet, label_index, load_dataset, read_series
from ssltok.training import keyed_generator

__all__ = ["Split", "find_datasets", "make_split", "stratified_part"]

HELD_OUT = 1 / 3  # share of the training split that `--split validation` is judged on


class Split(NamedTuple):
    """Series and labels to learn from, and those to judge on. Labels are int64 from 0."""

    name: str
    train: SeriesSet
    train_labels: Tensor
    test: SeriesSet
    test_labels: Tensor
    classes: int

    def digest(self) -> str:
        """A hash of what is learned from and of what is judged on."""
        text = "".join(
            [
                self.train.digest(), str(self.train_labels.tolist()),
                self.test.digest(), str(self.test_labels.tolist()),
            ]
        )  # fmt: skip
        return hashlib.sha256(text.encode()).hexdigest()

    def train_digest(self) -> str:
        """A hash of what is learned from alone."""
        text = self.train.digest() + str(self.train_labels.tolist())
        return hashlib.sha256(text.encode()).hexdigest()


def find_datasets(
    names: Sequence[str],
    *,
    folder: pathlib.Path | None = None,
    arrays: Mapping[str, Dataset] | None = None,
) -> dict[str, Dataset]:
    """Find each data set: among the arrays, as `folder/NAME.npz`, or by its archive name.

    Args:
        names: What to find; none is all of the arrays, or all of the folder's files.
        folder: .npz files with X_train, y_train, X_test, y_test.
        arrays: Data sets that somebody already holds.

    Raises:
        ValueError: If nothing is asked for, or a data set has no test part or no labels.
    """
    arrays = arrays or {}
    if not names and arrays:
        names = sorted(arrays)
    if not names and folder is not None:
        names = sorted(path.stem for path in folder.glob("*.npz"))
    if not names:
        raise ValueError("find_datasets: names must not be empty without a folder; got none")
    found = {}
    for name in names:
        path = None if folder is None else folder / f"{name}.npz"
        if name in arrays:
            data = arrays[name]
        elif path is not None and path.is_file():
            data = load_dataset(str(path))
        else:
            data = load_dataset(name)
        if data.test is None or data.train_labels is None or data.test_labels is None:
            raise ValueError(f"find_datasets: {name} must have labels and a test part; got neither")
        found[name] = data
    return found


def make_split(name: str, data: Dataset, *, kind: str, seed: int, most_test: int) -> Split:
    """Make the series of one cell.

    `kind` "test" judges on at most `most_test` series of the test part, drawn once (the same for
    every arm and seed), class by class. "validation" never opens the test part: a third of each
    class of the training part, another one for each seed, is judged on; a class of one or two
    series stays whole in training, so that nothing is judged that could not be learned.

    Args:
        name: The data set's name.
        data: What was found.
        kind: "test" or "validation".
        seed: The cell's seed.
        most_test: Series judged on at most.
    """
    train = read_series(data.train)
    labels, classes = label_index(data.train_labels, len(train.values))
    if kind == "validation":
        held = stratified_part(labels, HELD_OUT, keyed_generator(seed, f"validation {name}"))
        keep = torch.ones(len(labels), dtype=torch.bool)
        keep[held] = False
        kept = keep.nonzero()[:, 0]
        parts = train.take(kept), labels[kept], train.take(held), labels[held]
    elif kind == "test":
        test = read_series(data.test, channels=train.values.shape[1], length=None)
        longest = max(part.values.shape[2] for part in (train, test))
        train, test = (read_series(x, length=longest) for x in (data.train, data.test))
        test_labels, _ = label_index(data.test_labels, len(test.values), classes=classes)
        generator = keyed_generator(0, f"test {name}")
        share = min(1.0, most_test / len(test_labels))
        some = stratified_part(test_labels, share, generator, whole_if_small=False)
        parts = train, labels, test.take(some), test_labels[some]
    else:
        raise ValueError(f"make_split: kind must be test or validation; got {kind!r}")
    return Split(name, *parts, len(classes))


def stratified_part(
    labels: Tensor, share: float, generator: torch.Generator, *, whole_if_small: bool = True
) -> Tensor:
    """Draw a share of each class, sorted indices.

    Args:
        labels: int64 `(cases,)`.
        share: In (0, 1]; 1 is everything.
        generator: Draws the cases.
        whole_if_small: Take nothing of a class of fewer than 3; else at least one of each class.
    """
    if share >= 1:
        return torch.arange(len(labels))
    chosen = []
    for label in torch.unique(labels).tolist():
        members = (labels == label).nonzero()[:, 0]
        count = round(share * len(members))
        count = (0 if len(members) < 3 else max(1, count)) if whole_if_small else max(1, count)
        chosen.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return torch.cat(chosen).sort().values
