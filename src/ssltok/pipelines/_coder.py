"""What a fitted tokenizer does with series: encode, transform, reconstruct, decode."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from torch import Tensor

from ssltok.data import SeriesSet, read_series
from ssltok.nn import mean_pool
from ssltok.pipelines._artifact import Artifact
from ssltok.pipelines._fit import encode_series

__all__ = ["Floats", "SeriesCoder"]

Floats = NDArray[np.float32]


class SeriesCoder:
    """Series to tokens and back, by an artifact in `artifact_`; the base of `SSLTokenizer`."""

    artifact_: Artifact

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
                mean_pool(vectors, part.reshape(-1, *grid) >= 0)
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

    @property
    def tokens_(self) -> int:
        """Tokens of one series."""
        return sum(self._model().tokenizer.sizes)

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
