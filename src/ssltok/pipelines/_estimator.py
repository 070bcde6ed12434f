"""`SSLTokenizer`: the whole line behind fit, encode, transform, sample, impute, save, load."""

import os
import pathlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor

from ssltok.data import SeriesSet, label_index, read_series
from ssltok.nn import mean_pool
from ssltok.pipelines._artifact import Artifact, load_artifact, provenance, save_artifact
from ssltok.pipelines._fit import encode_series, fit
from ssltok.pipelines._generate import Generated, generate
from ssltok.pipelines._impute import impute_series
from ssltok.pipelines._words._build import build_decoding
from ssltok.pipelines._words._config import Config
from ssltok.pipelines._words._parts import Parts
from ssltok.pipelines._words._presets import PRESETS, demo, resolve_preset
from ssltok.pipelines._words._values import nested_parameters, replace_nested
from ssltok.training import History, keyed_generator

__all__ = ["SSLTokenizer"]

Floats = NDArray[np.float32]
DECODE_BATCH = 256
PARTS = (
    "bands", "encoder", "quantizer", "decoder", "objective", "augment", "pool", "compared",
    "quantized", "mask", "token_loss", "everywhere", "prior", "schedule", "order", "sampling",
    "guidance",
)  # fmt: skip


class SSLTokenizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learn tokens of time series, and new series from tokens.

    X is an array or tensor `(cases, channels, length)` or `(cases, length)`, or a list of series
    of unequal lengths; NaN marks missing values. Labels are anything hashable, or absent.
    Results are numpy arrays in the units of X.

    **Parts** take the place of what the preset names. A class or a `functools.partial` is built
    once the sizes are known, anything else is the part itself; see `Parts`, which also holds those
    that have no keyword here. `fit` copies modules before it trains them.

    Args:
        preset: `"compact"`, `"nc_vqvae"`, `"timevqvae"`, `"demo"`, a `Config`, or `Parts` (with
            the numbers of `"demo"`).
        bands: From series to the bands that branches read, and back.
        encoder: From a band to latents.
        quantizer: From latents to codes, such as `partial(FSQ, [8, 5, 5])`.
        decoder: From code vectors to a band.
        objective: What is learned from views, such as `partial(BYOL, predictor_dim=128)`.
        augment: From series to a view.
        pool: What of the tokens the objective compares.
        compared: Which inputs it compares: 0 is the series, 1 and on are views.
        quantized: Which of these are code vectors, and which latents.
        mask: From a shape to the tokens that are hidden in the prior's training.
        token_loss: The prior's loss.
        everywhere: Whether that loss is on all tokens, hidden or not.
        prior: The prior.
        schedule: Decoding: the share masked.
        order: Decoding: which tokens stay.
        sampling: Decoding: what token is drawn.
        guidance: Decoding: from unconditional logits to a guidance.
        parts: Parts that have no keyword here; a keyword takes the place of the same part in it.
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
        preset: str | Config | Parts = "nc_vqvae",
        *,
        bands: Any = None,
        encoder: Any = None,
        quantizer: Any = None,
        decoder: Any = None,
        objective: Any = None,
        augment: Callable[..., Any] | None = None,
        pool: Any = None,
        compared: tuple[int, ...] | None = None,
        quantized: tuple[bool, ...] | None = None,
        mask: Callable[..., Any] | None = None,
        token_loss: Callable[..., Any] | None = None,
        everywhere: bool | None = None,
        prior: Any = None,
        schedule: Callable[..., Any] | None = None,
        order: Any = None,
        sampling: Any = None,
        guidance: Callable[..., Any] | None = None,
        parts: Parts | None = None,
        seed: int = 0,
        checkpoints: str | os.PathLike[str] | None = None,
        progress: bool = False,
        cpu: bool = False,
    ) -> None:
        self.preset = preset
        self.bands = bands
        self.encoder = encoder
        self.quantizer = quantizer
        self.decoder = decoder
        self.objective = objective
        self.augment = augment
        self.pool = pool
        self.compared = compared
        self.quantized = quantized
        self.mask = mask
        self.token_loss = token_loss
        self.everywhere = everywhere
        self.prior = prior
        self.schedule = schedule
        self.order = order
        self.sampling = sampling
        self.guidance = guidance
        self.parts = parts
        self.seed = seed
        self.checkpoints = checkpoints
        self.progress = progress
        self.cpu = cpu

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002  as sklearn
        """Parameters by name; `deep` adds the preset's, such as `preset__tokenizer__dim`."""
        parameters: dict[str, Any] = super().get_params(deep=False)
        return parameters | (nested_parameters(self._config()) if deep and self._nests() else {})

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters, also nested ones such as `preset__tokenizer__dim`.

        Raises:
            ValueError: If a name is unknown; near ones are named. If the preset is `Parts`, which
                have no numbers.
        """
        nested = {k: v for k, v in parameters.items() if k.startswith("preset__")}
        super().set_params(**{k: v for k, v in parameters.items() if k not in nested})
        if nested and isinstance(self.preset, Parts):
            raise ValueError(
                f"set_params: the preset must be a name or a Config where its numbers are set "
                f"(parts=Parts(...) goes beside it); got Parts and {sorted(nested)}"
            )
        if nested:
            self.preset = replace_nested(self._config(), nested)
        return self

    def fit(self, X: Any, y: Sequence[Hashable] | None = None) -> Self:  # noqa: N803
        """Train the tokenizer, then the prior on its tokens.

        Args:
            X: Series; see the class.
            y: A label for each series, or None.

        Returns:
            The estimator.

        Raises:
            ValueError: If the data, the preset or a part cannot be used; before any training.
            TypeError: If a part lacks a member of its protocol.
        """
        config, parts = self._config(), self._parts()
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
            parts=parts,
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
                config=config,
                tokenizer=fitted.tokenizer,
                prior=fitted.prior,
                decoding=build_decoding(config.decoding, fitted.tokenizer, parts=parts),
                classes=tuple(classes),
                lengths=data.lengths,
                labels=labels,
                provenance=origin,
            )
        )
        return self

    def encode(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """Turn series into codes.

        Args:
            X: Series with the channels of training, no longer than those.

        Returns:
            int64 `(cases, tokens)`, in the order low branch, high branch, within each channel by
            channel (where tokens are), frequency by frequency; -1 beyond a series' end. With
            several codes a token `(cases, tokens, codes)`, coarse first.
        """
        codes: NDArray[np.int64] = self._codes("encode", X).numpy()
        return codes

    def transform(self, X: Any) -> Floats:  # noqa: N803
        """Turn series into embeddings: the code vectors, averaged over the real tokens.

        Args:
            X: As for `encode`.

        Returns:
            float32 `(cases, dim * branches)`; channels side by side where tokens are channel by
            channel, `(cases, channels * dim * branches)`.
        """
        tokenizer, codes = self._model().tokenizer, self._codes("transform", X)
        pooled = []
        with torch.no_grad():
            for vectors, real in zip(
                tokenizer.vectors(codes), tokenizer.real_codes(codes), strict=True
            ):
                pooled.append(mean_pool(vectors, real, channel_dim=1).reshape(len(codes), -1))
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
            parts = self._model().tokenizer.token_vectors(codes)
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

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Measure the share of the variance that the tokens explain, 1 at best.

        Args:
            X: As for `encode`.
            y: Not read; grid search passes it.

        Returns:
            One less the squared error of `reconstruct` over the squares about the training means,
            both in units of each channel's training standard deviation, over known samples.
        """
        data = self._read("score", X)
        scaled = self._scaled(data).values
        rebuilt = torch.from_numpy(self._decode(self._codes("score", X), data.lengths))
        known = data.valid
        guess = self._model().tokenizer.scale(rebuilt, known)[known]
        return 1 - float((scaled[known] - guess).square().sum() / scaled[known].square().sum())

    def decode(self, codes: NDArray[np.int64] | Tensor) -> Floats:
        """Turn codes into series.

        Args:
            codes: int64 `(cases, tokens)`, or with several codes a token, as `encode` gives them.

        Returns:
            float32 `(cases, channels, length)` in the units of X.

        Raises:
            ValueError: If the codes have another shape, or are out of range.
        """
        tokenizer = self._model().tokenizer
        tensor, several = torch.as_tensor(codes), tokenizer.codes_per_token
        shape = (self.tokens_,) if several == 1 else (self.tokens_, several)
        if tuple(tensor.shape[1:]) != shape or tensor.dtype != torch.int64:
            raise ValueError(
                f"SSLTokenizer.decode: codes must be int64 {('cases', *shape)}; "
                f"got {tensor.dtype} {tuple(tensor.shape)}".replace("'", "")
            )
        return self._decode(tensor, torch.full((len(tensor),), tokenizer.length))

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
        """Draw a new series for each label (None = any class); also give its codes.

        `observe` is called with each decoding step of the first branch, of the first 256 series.
        """
        artifact = self._model()
        if not labels:
            raise ValueError("SSLTokenizer.sample: n must be >= 1; got 0")
        numbers = artifact.numbers(labels, "SSLTokenizer.sample")
        generator = keyed_generator(seed, "sample")
        sizes = (
            artifact.draw_lengths(numbers, generator) if lengths is None else torch.tensor(lengths)
        )
        return generate(
            artifact.tokenizer,
            artifact.prior,
            labels=numbers,
            lengths=sizes,
            decoding=artifact.decoding,
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
        continued: Floats = filled.gather(3, times.expand(samples, -1, filled.shape[2], -1)).numpy()
        return continued

    def save(self, folder: str | os.PathLike[str]) -> pathlib.Path:
        """Write the model as a new folder: JSON and safetensors, whole or not at all."""
        return save_artifact(self._model(), folder)

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], *, parts: Mapping[str, Any] | None = None
    ) -> Self:
        """Read a model; nothing in the folder is executed.

        Args:
            folder: A folder written by `save`.
            parts: Parts that are not ssltok's own, by their place; the error names them.

        Returns:
            The fitted estimator.

        Raises:
            ArtifactError: If the folder is missing, damaged, foreign or unsafe, or a part must be
                handed over.
        """
        artifact = load_artifact(folder, parts=parts)
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

    def _nests(self) -> bool:
        """Whether the preset has numbers; a word that is no preset is refused by `fit`."""
        return isinstance(self.preset, Config) or (
            isinstance(self.preset, str) and self.preset in (*PRESETS, "ssltok")
        )

    def _config(self) -> Config:
        preset = demo() if isinstance(self.preset, Parts) else self.preset
        return resolve_preset("SSLTokenizer", preset)

    def _parts(self) -> Parts:
        keywords = Parts(**{name: getattr(self, name) for name in PARTS})
        for others in (self.parts, self.preset):
            if isinstance(others, Parts):
                keywords = keywords.over(others)
        return keywords

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
                    for part in torch.split(codes, DECODE_BATCH)
                ]
            )
        times = torch.arange(tokenizer.length)
        series = series.masked_fill((times >= lengths[:, None])[:, None], torch.nan)
        result: Floats = series.numpy()
        return result

    def _fill(
        self,
        data: SeriesSet,
        labels: Sequence[Hashable] | None,
        samples: int,
        seed: int,
        method: str,
    ) -> Tensor:
        artifact, cases = self._model(), len(data.values)
        known = [None] * cases if labels is None else list(labels)
        if len(known) != cases or samples < 1:
            raise ValueError(
                f"SSLTokenizer.{method}: y must hold {cases} labels and samples be >= 1; "
                f"got {len(known)} and {samples}"
            )
        return impute_series(
            artifact.tokenizer,
            artifact.prior,
            data,
            labels=artifact.numbers(known, f"SSLTokenizer.{method}"),
            samples=samples,
            decoding=artifact.decoding,
            generator=keyed_generator(seed, method),
        )
