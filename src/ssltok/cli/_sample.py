"""The commands `ssltok sample` and `ssltok encode`: what a saved model draws, and reads."""

import pathlib
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import tyro

from ssltok._shared.outputs import new_file
from ssltok.cli._outputs import check_new_file
from ssltok.cli._reading import ReadingOptions, read
from ssltok.cli._say import say
from ssltok.data import Reading, windowed, write_table
from ssltok.evaluation import save_samples
from ssltok.pipelines import SSLTokenizer

__all__ = ["Encode", "Sample"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Draw new series from a saved model."""

    model: Annotated[pathlib.Path, tyro.conf.Positional]
    """The model's folder."""
    n: int = 16
    """How many series."""
    label: str | None = None
    """Of which class; by default of any."""
    seed: int = 0
    """Same seed, same series."""
    out: pathlib.Path = pathlib.Path("samples.npy")
    """A new .npy, .npz or .csv file (csv: one channel only)."""
    overwrite: bool = False
    """Replace the file if there is one."""

    def __call__(self) -> None:
        """Do it."""
        if self.n < 1:
            raise ValueError(f"sample: n must be >= 1; got {self.n}")
        check_new_file("sample", self.out, (".npy", ".npz", ".csv"), overwrite=self.overwrite)
        model = SSLTokenizer.load(self.model)
        label, channels = _known_label(model, self.label), model.artifact_.tokenizer.channels
        if self.out.suffix == ".csv" and channels != 1:
            raise ValueError(f"sample: a .csv file must hold one channel; got {channels} channels")
        drawn = model.generate([label] * self.n, seed=self.seed)
        series = drawn.series.numpy()
        if self.out.suffix == ".npz":
            labels = None if self.label is None else [label] * self.n
            save_samples(self.out, series, labels=labels, codes=drawn.codes)
        elif self.out.suffix == ".npy":
            with new_file(self.out) as stream:
                np.save(stream, series)
        else:
            write_table(self.out, series, reading=Reading(layout="series_in_rows"))
        say(f"{series.shape[0]} series of shape {series.shape[1:]}: {self.out}")


@dataclass(frozen=True, kw_only=True)
class Encode:
    """Turn series into tokens and embeddings: `encode MODEL DATA`, `encode --model MODEL DATA`."""

    model: Annotated[str, tyro.conf.Positional]
    """The model's folder; or general, which ships and needs no training; or owner/name on the
    Hugging Face hub."""
    data: str = "GunPoint"
    """As for fit; a test part is encoded too."""
    reading: ReadingOptions = field(default_factory=Reading)
    source: bool | None = None
    """As for fit: whether series stay in the file and are read when needed."""
    window: int | None = None
    """As for fit: cut long series into windows of this many samples."""
    stride: int | None = None
    """As for fit: samples from one window to the next."""
    out: pathlib.Path = pathlib.Path("tokens.npz")
    """A new .npz file: codes and embeddings of the training and the test part."""
    overwrite: bool = False
    """Replace the file if there is one."""

    def __call__(self) -> None:
        """Do it."""
        check_new_file("encode", self.out, (".npz",), overwrite=self.overwrite)
        model = SSLTokenizer.from_pretrained(self.model)
        data = read(self.data, self.reading, source=self.source)
        if self.window is not None:
            data = windowed(data, size=self.window, stride=self.stride, who="encode")
            say(f"{self.data}: {data.about}")
        arrays: dict[str, Any] = {}
        for part, series in (("train", data.train), ("test", data.test)):
            if series is not None:
                arrays[f"codes_{part}"] = model.encode(series)
                arrays[f"embeddings_{part}"] = model.transform(series)
        with new_file(self.out) as stream:
            np.savez_compressed(stream, **arrays)
        say(f"{', '.join(f'{k} {v.shape}' for k, v in arrays.items())}: {self.out}")


def _known_label(model: SSLTokenizer, label: str | None) -> Hashable:
    """The class whose text is what the user typed."""
    if label is None:
        return None
    names = [str(known) for known in model.classes_]
    if names.count(label) == 1:
        return model.classes_[names.index(label)]
    if label in names:
        raise ValueError(
            f"sample: label must name one class; got {label!r} for {names.count(label)} classes of "
            "other types: use SSLTokenizer.sample"
        )
    raise ValueError(f"sample: label must be one of {names}; got {label!r}")
