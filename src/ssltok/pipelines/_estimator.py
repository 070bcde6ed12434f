"""`SSLTokenizer`: the whole line behind fit, encode, transform, reconstruct, sample, save, load."""

import os
import pathlib
from collections.abc import Hashable, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor

from ssltok.pipelines._artifact import Artifact, load_artifact, provenance, save_artifact
from ssltok.pipelines._config import Config
from ssltok.pipelines._data import SeriesSet, label_index, read_series
from ssltok.pipelines._fit import encode_series, fit
from ssltok.pipelines._generate import Generated, generate
from ssltok.pipelines._memory import History
from ssltok.pipelines._presets import resolve
from ssltok.pipelines._randomness import keyed_generator
from ssltok.pipelines._tokenizer import pool_tokens

__all__ = ["SSLTokenizer"]

Floats = NDArray[np.float32]


class SSLTokenizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learn tokens of time series, and new series from tokens.

    X is an array or tensor `(cases, channels, length)` or `(cases, length)`, or a list of series
    of unequal lengths; NaN marks missing values. Labels are anything hashable, or absent.
    Results are numpy arrays in the units of X.

    Args:
        preset: `"nc_vqvae"`, `"timevqvae"`, `"demo"`, or a `Config`.
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
        config = resolve("SSLTokenizer", self.preset)
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

    def encode(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """Turn series into codes.

        Args:
            X: Series with the channels of training, no longer than those.

        Returns:
            int64 `(cases, tokens)`, in the order low branch, high branch, within each frequency
            by frequency; -1 beyond a series' end.
        """
        codes: NDArray[np.int64] = self._codes("encode", X).numpy()
        return codes

    def transform(self, X: Any) -> Floats:  # noqa: N803
        """Turn series into embeddings: the code vectors, averaged over the real tokens.

        Args:
            X: As for `encode`.

        Returns:
            float32 `(cases, dim * branches)`.
        """
        artifact = self._model()
        codes = self._codes("transform", X)
        with torch.no_grad():
            pooled = [
                pool_tokens(vectors, part.reshape(-1, *grid) >= 0)[:, : vectors.shape[1]]
                for vectors, part, grid in zip(
                    artifact.tokenizer.vectors(codes),
                    torch.split(codes, list(artifact.tokenizer.sizes), dim=1),
                    artifact.tokenizer.grids,
                    strict=True,
                )
            ]
        embeddings: Floats = torch.cat(pooled, dim=1).numpy()
        return embeddings

    def token_vectors(self, X: Any) -> Floats:  # noqa: N803
        """Turn series into the vectors of their codes, in the order of `encode`.

        Args:
            X: As for `encode`.

        Returns:
            float32 `(cases, tokens, dim)`, 0 beyond a series' end.
        """
        codes = self._codes("token_vectors", X)
        with torch.no_grad():
            parts = [v.flatten(2) for v in self._model().tokenizer.vectors(codes)]
        vectors: Floats = torch.cat(parts, dim=2).transpose(1, 2).contiguous().numpy()
        return vectors

    def reconstruct(self, X: Any) -> Floats:  # noqa: N803
        """Take series through the tokens and back.

        Args:
            X: As for `encode`.

        Returns:
            float32 `(cases, channels, length)` in the units of X, NaN beyond a series' end;
            missing values inside are filled by the model.
        """
        artifact = self._model()
        data = self._read("reconstruct", X)
        codes = encode_series(artifact.tokenizer, self._scaled(data))
        return self._decode(codes, data.lengths)

    def decode(self, codes: NDArray[np.int64] | Tensor) -> Floats:
        """Turn codes into series.

        Args:
            codes: int64 `(cases, tokens)` as `encode` gives them.

        Returns:
            float32 `(cases, channels, length)` in the units of X.

        Raises:
            ValueError: If the codes have another shape, or are out of range.
        """
        artifact = self._model()
        given = torch.as_tensor(codes)
        if given.ndim != 2 or given.shape[1] != self.tokens_ or given.dtype != torch.int64:
            raise ValueError(
                f"SSLTokenizer.decode: codes must be int64 (cases, {self.tokens_}); "
                f"got {given.dtype} {tuple(given.shape)}"
            )
        return self._decode(given, torch.full((len(given),), artifact.tokenizer.length))

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
        who = "SSLTokenizer.sample"
        numbers = torch.tensor(
            [
                -1
                if label is None and None not in artifact.classes
                else int(label_index([label], 1, classes=artifact.classes, who=who)[0])
                for label in labels
            ]
        )
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
    def tokens_(self) -> int:
        """Tokens of one series."""
        return sum(self._model().tokenizer.sizes)

    @property
    def provenance_(self) -> dict[str, Any]:
        """Versions, seed and data digest of the training run."""
        return dict(self._model().provenance)

    def _adopt(self, artifact: Artifact) -> None:
        self.config_, self.classes_ = artifact.config, list(artifact.classes)
        self.artifact_ = artifact

    def _model(self) -> Artifact:
        if not hasattr(self, "artifact_"):
            raise NotFittedError("SSLTokenizer: must be fitted or loaded first; got a new one")
        return self.artifact_

    def _read(self, method: str, X: Any) -> SeriesSet:  # noqa: N803
        tokenizer = self._model().tokenizer
        return read_series(
            X,
            channels=tokenizer.channels,
            length=tokenizer.length,
            who=f"SSLTokenizer.{method}",
        )

    def _scaled(self, data: SeriesSet) -> SeriesSet:
        return data._replace(values=self._model().tokenizer.scale(data.values, data.valid))

    def _codes(self, method: str, X: Any) -> Tensor:  # noqa: N803
        return encode_series(self._model().tokenizer, self._scaled(self._read(method, X)))

    def _decode(self, codes: Tensor, lengths: Tensor) -> Floats:
        tokenizer = self._model().tokenizer
        with torch.no_grad():
            series = torch.cat(
                [
                    tokenizer.scaler.inverse(tokenizer.decode(part))
                    for part in torch.split(codes, 256)
                ]
            )
        times = torch.arange(tokenizer.length)
        series = series.masked_fill((times >= lengths[:, None])[:, None], torch.nan)
        result: Floats = series.numpy()
        return result

    def _draw_lengths(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        artifact = self._model()
        sizes = torch.empty(len(labels), dtype=torch.int64)
        for label in sorted(set(labels.tolist())):
            mine = labels == label
            pool = artifact.lengths[artifact.labels == label] if label >= 0 else artifact.lengths
            chosen = torch.randint(len(pool), (int(mine.sum()),), generator=generator)
            sizes[mine] = pool[chosen]
        return sizes
