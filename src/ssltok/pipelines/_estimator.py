"""`SSLTokenizer`: the whole line behind fit, encode, transform, reconstruct, sample, save, load."""

import os
import pathlib
from collections.abc import Hashable, Sequence
from typing import Any, Self

import torch
from sklearn.base import BaseEstimator, TransformerMixin
from torch import Tensor

from ssltok.data import SeriesSet, label_index, read_series
from ssltok.pipelines._artifact import Artifact, load_artifact, provenance, save_artifact
from ssltok.pipelines._coder import Floats, SeriesCoder
from ssltok.pipelines._config import Config
from ssltok.pipelines._fit import fit
from ssltok.pipelines._generate import Generated, generate
from ssltok.pipelines._impute import impute_series
from ssltok.pipelines._presets import resolve_preset
from ssltok.training import History, keyed_generator

__all__ = ["SSLTokenizer"]


class SSLTokenizer(SeriesCoder, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learn tokens of time series, and new series from tokens.

    X is an array or tensor `(cases, channels, length)` or `(cases, length)`, or a list of series
    of unequal lengths; NaN marks missing values. Labels are anything hashable, or absent.
    Results are numpy arrays in the units of X.

    Args:
        preset: `"ssltok"`, `"nc_vqvae"`, `"timevqvae"`, `"demo"`, or a `Config`.
        seed: Decides every weight, order and noise of `fit`.
        checkpoints: A folder where `fit` keeps what it needs to go on after a kill.
        progress: Show bars.
        cpu: Stay on the CPU even where there is an accelerator.

    Attributes:
        config_: The config used.
        classes_: The labels, in the order of their numbers.
        histories_: What was recorded of `"tokenizer"` and `"prior"`.

    Example:
        >>> import numpy as np
        >>> from ssltok.pipelines import SSLTokenizer, shorten
        >>> X = np.sin(np.linspace(0, 9, 32) * np.linspace(1, 2, 8)[:, None])
        >>> model = SSLTokenizer(preset=shorten("nc_vqvae", steps=2)).fit(X, list("aabbaabb"))
        >>> model.sample(3, label="b", seed=1).shape
        (3, 1, 32)
        >>> model.encode(X).shape == (8, model.tokens_)
        True
    """

    def __init__(
        self,
        preset: str | Config = "nc_vqvae",
        *,
        seed: int = 0,
        checkpoints: str | os.PathLike[str] | None = None,
        progress: bool = False,
        cpu: bool = False,
    ) -> None:
        self.preset = preset
        self.seed = seed
        self.checkpoints = checkpoints
        self.progress = progress
        self.cpu = cpu

    def fit(self, X: Any, y: Sequence[Hashable] | None = None) -> Self:  # noqa: N803
        """Train the tokenizer, then the prior on its tokens.

        Args:
            X: Series; see the class.
            y: A label for each series, or None.

        Returns:
            The estimator.

        Raises:
            ValueError: If the data or the preset cannot be used; before any training.
        """
        config = resolve_preset("SSLTokenizer", self.preset)
        data = read_series(X, who="SSLTokenizer.fit")
        labels, classes = label_index(y, len(data.values), who="SSLTokenizer.fit")
        folder = None if self.checkpoints is None else pathlib.Path(self.checkpoints)
        fitted = fit(
            data,
            labels,
            config,
            classes=len(classes),
            seed=self.seed,
            folder=folder,
            progress=self.progress,
            cpu=self.cpu,
        )
        origin = {
            **provenance(),
            "seed": self.seed,
            "data": data.digest(),
            "run": fitted.fingerprint,
        }
        self.histories_: dict[str, History] = fitted.histories
        self._adopt(
            Artifact(
                config, fitted.tokenizer, fitted.prior, tuple(classes), data.lengths, labels, origin
            )
        )
        return self

    def sample(
        self, n: int, label: Hashable = None, *, seed: int = 0, lengths: Sequence[int] | None = None
    ) -> Floats:
        """Draw new series in the units of X.

        Args:
            n: How many.
            label: One label for all, or None for series of any class.
            seed: Same seed, same series.
            lengths: Samples of each series; None draws from the lengths of the training series
                (of that label).

        Returns:
            float32 `(n, channels, length)`, NaN beyond a series' end.

        Raises:
            ValueError: If `n < 1`, or the label or a length is unknown to the model.
        """
        return self.generate([label] * n, seed=seed, lengths=lengths).series.numpy()

    def generate(
        self,
        labels: Sequence[Hashable],
        *,
        seed: int = 0,
        lengths: Sequence[int] | None = None,
        observe: Any = None,
    ) -> Generated:
        """Draw a new series for each label (None = any class); also give its codes."""
        artifact = self._model()
        if not labels:
            raise ValueError("SSLTokenizer.sample: n must be >= 1; got 0")
        numbers = self._numbers(labels, "SSLTokenizer.sample")
        generator = keyed_generator(seed, "sample")
        sizes = self._draw_lengths(numbers, generator) if lengths is None else torch.tensor(lengths)
        return generate(
            artifact.tokenizer,
            artifact.prior,
            labels=numbers,
            lengths=sizes,
            decoding=artifact.config.decoding,
            generator=generator,
            observe=observe,
        )

    def impute(
        self,
        X: Any,  # noqa: N803
        y: Sequence[Hashable] | None = None,
        *,
        samples: int = 1,
        seed: int = 0,
    ) -> Floats:
        """Draw the missing values of series: NaN before a series' end.

        Args:
            X: As for `encode`; known values stay as they are.
            y: A label for each series, None where unknown; or None for all.
            samples: Draws of each series, at least 1; their spread says how sure the model is.
            seed: Same seed, same values.

        Returns:
            float32 `(samples, cases, channels, length)`, NaN beyond a series' end.

        Raises:
            ValueError: If the series or labels are not the model's, or `samples < 1`.
        """
        return self._fill(self._read("impute", X), y, samples, seed, "impute").numpy()

    def forecast(
        self,
        X: Any,  # noqa: N803
        y: Sequence[Hashable] | None = None,
        *,
        horizon: int,
        samples: int = 1,
        seed: int = 0,
    ) -> Floats:
        """Continue series, each from its own end.

        Args:
            X: As for `encode`, with room for `horizon` samples within the length of training.
            y: A label for each series, None where unknown; or None for all.
            horizon: Samples to draw, at least 1.
            samples: Draws of each series, at least 1.
            seed: Same seed, same values.

        Returns:
            float32 `(samples, cases, channels, horizon)`.

        Raises:
            ValueError: If the series or labels are not the model's, or an option is out of range.
        """
        data, room = self._read("forecast", X), self._model().tokenizer.length
        longest = int(data.lengths.max())
        if not 1 <= horizon <= room - longest:
            raise ValueError(
                f"SSLTokenizer.forecast: horizon must lie in [1, {room - longest}], the length of "
                f"training less that of the longest series; got {horizon}"
            )
        further = data._replace(lengths=data.lengths + horizon)
        filled = self._fill(further, y, samples, seed, "forecast")
        times = (data.lengths[:, None] + torch.arange(horizon))[None, :, None]
        wanted = times.expand(samples, -1, filled.shape[2], -1)
        continued: Floats = filled.gather(3, wanted).numpy()
        return continued

    def save(self, folder: str | os.PathLike[str]) -> pathlib.Path:
        """Write the model as a new folder: JSON and safetensors, whole or not at all."""
        return save_artifact(self._model(), folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a model; nothing in the folder is executed.

        Raises:
            ArtifactError: If the folder is missing, damaged, foreign or unsafe.
        """
        artifact = load_artifact(folder)
        estimator = cls(preset=artifact.config, seed=int(artifact.provenance.get("seed", 0)))
        estimator._adopt(artifact)
        return estimator

    @property
    def provenance_(self) -> dict[str, Any]:
        """Versions, seed and data digest of the training run."""
        return dict(self._model().provenance)

    def _adopt(self, artifact: Artifact) -> None:
        self.config_, self.classes_ = artifact.config, list(artifact.classes)
        self.artifact_ = artifact

    def _numbers(self, labels: Sequence[Hashable], who: str) -> Tensor:
        """Numbers of labels; None is -1, unless it was a label of the training."""
        known = self._model().classes
        return torch.tensor(
            [
                -1
                if label is None and None not in known
                else int(label_index([label], 1, classes=known, who=who)[0])
                for label in labels
            ]
        )

    def _fill(
        self,
        data: SeriesSet,
        labels: Sequence[Hashable] | None,
        samples: int,
        seed: int,
        method: str,
    ) -> Tensor:
        artifact, cases = self._model(), len(data.values)
        said = [None] * cases if labels is None else list(labels)
        if len(said) != cases or samples < 1:
            raise ValueError(
                f"SSLTokenizer.{method}: y must hold {cases} labels and samples be >= 1; "
                f"got {len(said)} and {samples}"
            )
        return impute_series(
            artifact.tokenizer,
            artifact.prior,
            data,
            labels=self._numbers(said, f"SSLTokenizer.{method}"),
            samples=samples,
            decoding=artifact.config.decoding,
            generator=keyed_generator(seed, method),
        )

    def _draw_lengths(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        artifact = self._model()
        sizes = torch.empty(len(labels), dtype=torch.int64)
        for label in sorted(set(labels.tolist())):
            mine = labels == label
            pool = artifact.lengths[artifact.labels == label] if label >= 0 else artifact.lengths
            chosen = torch.randint(len(pool), (int(mine.sum()),), generator=generator)
            sizes[mine] = pool[chosen]
        return sizes
