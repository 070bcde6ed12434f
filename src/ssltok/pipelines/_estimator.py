"""`SSLTokenizer`: the whole line behind fit, encode, transform, sample, impute, save, load."""

import os
import pathlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor

from ssltok.data import SeriesSet, label_index, read_series
from ssltok.nn import mean_pool
from ssltok.pipelines._artifact import (
    Artifact,
    check_savable,
    load_artifact,
    provenance,
    save_artifact,
)
from ssltok.pipelines._estimator_parameters import PresetEstimator
from ssltok.pipelines._fit import encode_series, fit
from ssltok.pipelines._generate import Generated, generate
from ssltok.pipelines._impute import impute_series
from ssltok.pipelines._stages import teller
from ssltok.pipelines._words._build import build_decoding
from ssltok.pipelines._words._config import Config
from ssltok.pipelines._words._parts import Parts
from ssltok.training import History, keyed_generator

__all__ = ["SSLTokenizer"]

Floats = NDArray[np.float32] | NDArray[np.float64]
Labels = Iterable[Hashable] | Tensor | None
DECODE_BATCH = 256


class SSLTokenizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, PresetEstimator):  # type: ignore[misc]
    """Learn tokens of time series, and new series from tokens.

    X is an array or tensor `(cases, channels, length)` or `(cases, length)`, or a list of series
    of unequal lengths; NaN marks missing values. See `ssltok.data.read_series`. Labels are texts,
    numbers or booleans; None, NaN and NA say that a series has none. Results are numpy arrays in
    the units of X: float32, or float64 where a channel lies so far from 0 that float32 would lose
    its digits (or is constant). A channel of a series without any value stays NaN.

    **Parts** take the place of what the preset names. A class or a `functools.partial` is built
    once the sizes are known, anything else is the part itself; see `Parts`, which also holds those
    that have no keyword here. `fit` copies modules before it trains them.

    Args:
        preset: `"demo"`, which is what `ssltok run` trains too, or the papers' `"nc_vqvae"`,
            `"timevqvae"` and `"compact"`, which take hours; a `Config`; or `Parts` (with the
            numbers of `"demo"`).
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
        layout: `"channels_last"` if X is `(cases, length, channels)`, and results are to be;
            `"channels_first"` if not. None is the latter, and refuses series that very likely
            lie on their side.
        progress: Show bars, where there is a terminal.
        verbose: Say in a line how long each stage will take, also where there is no terminal; None
            says it where bars are shown.
        cpu: Stay on the CPU even where there is an accelerator.
        length: Samples of the longest series that the model must hold; None takes the longest of
            `fit`.

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
        preset: str | Config | Parts = "demo",
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
        layout: str | None = None,
        progress: bool = True,
        verbose: bool | int | None = None,
        cpu: bool = False,
        length: int | None = None,
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
        self.layout = layout
        self.progress = progress
        self.verbose = verbose
        self.cpu = cpu
        self.length = length

    def fit(self, X: Any, y: Labels = None) -> Self:  # noqa: N803
        """Train the tokenizer, then the prior on its tokens.

        Args:
            X: Series; see the class.
            y: A label for each series, or None; None, NaN or NA for a series without one.

        Returns:
            The estimator.

        Raises:
            ValueError: If the data, the preset or a part cannot be used; before any training.
            TypeError: If a part lacks a member of its protocol, or a label cannot be saved.
        """
        who = "SSLTokenizer.fit"
        config, parts = self._config(), self._parts()
        if self.length is not None and (type(self.length) is not int or self.length < 1):
            raise ValueError(
                f"SSLTokenizer: length must be an integer >= 1, or None; got {self.length!r}"
            )
        data = read_series(X, layout=self.layout, length=self.length, who=who)
        labels, classes = label_index(y, len(data.values), who=who)
        check_savable(who, classes)
        folder = None if self.checkpoints is None else pathlib.Path(self.checkpoints)
        fitted = fit(
            data,
            labels,
            config,
            classes=len(classes),
            seed=self.seed,
            folder=folder,
            progress=bool(self.progress),
            tell=teller(progress=bool(self.progress), verbose=self.verbose),
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
        return self._pooled(self._codes("transform", X))

    def _pooled(self, codes: Tensor) -> Floats:
        tokenizer = self._model().tokenizer
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
            `(cases, channels, length)` in the units of X, NaN beyond a series' end and in a
            channel without any value; other missing values are filled by the model.
        """
        data = self._read("reconstruct", X)
        return self._turned(self._reconstruct(data))

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Measure the share of the variance that the tokens explain, 1 at best.

        Args:
            X: As for `encode`.
            y: Not read; grid search passes it.

        Returns:
            One less the squared error of `reconstruct` over the squares about the training means,
            both in units of each channel's training standard deviation, over known samples.
        """
        data, tokenizer = self._read("score", X), self._model().tokenizer
        scaled, known = tokenizer.scaled(data).values, data.valid
        rebuilt = (self._reconstruct(data) - tokenizer.offset[:, None]).float()
        guess = tokenizer.scale(rebuilt, known)[known]
        return 1 - float((scaled[known] - guess).square().sum() / scaled[known].square().sum())

    def decode(self, codes: NDArray[np.int64] | Tensor) -> Floats:
        """Turn codes into series.

        Args:
            codes: int64 `(cases, tokens)`, or with several codes a token, as `encode` gives them.

        Returns:
            `(cases, channels, length)` in the units of X.

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
        lengths = torch.full((len(tensor),), tokenizer.length)
        return self._turned(self._decode(tensor, lengths))

    def sample(
        self, n: int, label: Hashable = None, *, seed: int = 0, lengths: Sequence[int] | None = None
    ) -> Floats:
        """Draw new series in the units of X.

        Args:
            n: How many.
            label: One label for all, or None (NaN, NA) for series of any class.
            seed: Same seed, same series.
            lengths: Samples of each series; None draws from the lengths of the training series
                (of that label).

        Returns:
            `(n, channels, length)` in the units of X, NaN beyond a series' end.

        Raises:
            ValueError: If `n < 1`, or the label or a length is unknown to the model.
        """
        if n < 1:
            raise ValueError(f"SSLTokenizer.sample: n must be >= 1; got {n}")
        series: Floats = self.generate([label] * n, seed=seed, lengths=lengths).series.numpy()
        return series

    def generate(
        self,
        labels: Iterable[Hashable],
        *,
        seed: int = 0,
        lengths: Sequence[int] | None = None,
        observe: Any = None,
    ) -> Generated:
        """Draw a new series for each label (None, NaN or NA: of any class); also give its codes.

        `observe` is called with each decoding step of the first branch, of the first 256 series.
        """
        artifact, labels = self._model(), list(labels)
        if not labels:
            raise ValueError("SSLTokenizer.generate: labels must be at least one; got none")
        numbers = artifact.numbers(labels, "SSLTokenizer.sample")
        generator = keyed_generator(seed, "sample")
        sizes = (
            artifact.draw_lengths(numbers, generator) if lengths is None else torch.tensor(lengths)
        )
        generated = generate(
            artifact.tokenizer,
            artifact.prior,
            labels=numbers,
            lengths=sizes,
            decoding=artifact.decoding,
            generator=generator,
            observe=observe,
        )
        return generated._replace(series=self._turned_tensor(generated.series))

    def impute(
        self,
        X: Any,  # noqa: N803
        y: Labels = None,
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
            `(samples, cases, channels, length)` in the units of X, NaN beyond a series' end and in
            a channel without any value.

        Raises:
            ValueError: If the series or labels are not the model's, or `samples < 1`.
        """
        return self._turned(self._fill(self._read("impute", X), y, samples, seed, "impute"))

    def forecast(
        self,
        X: Any,  # noqa: N803
        y: Labels = None,
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
            `(samples, cases, channels, horizon)` in the units of X.

        Raises:
            ValueError: If the series or labels are not the model's, or an option is out of range.
        """
        data, room = self._read("forecast", X), self._model().tokenizer.length
        longest = int(data.lengths.max())
        if longest == room:
            raise ValueError(
                f"SSLTokenizer.forecast: series must be shorter than the {room} samples that the "
                f"model holds, so that a horizon fits behind them; got one of {longest}"
            )
        if not 1 <= horizon <= room - longest:
            raise ValueError(
                f"SSLTokenizer.forecast: horizon must lie in [1, {room - longest}], the length of "
                f"training ({room}) less that of the longest series ({longest}); got {horizon}"
            )
        further = data._replace(lengths=data.lengths + horizon)
        filled = self._fill(further, y, samples, seed, "forecast")
        times = (data.lengths[:, None] + torch.arange(horizon))[None, :, None]
        return self._turned(filled.gather(3, times.expand(samples, -1, filled.shape[2], -1)))

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
    def _n_features_out(self) -> int:
        """Columns of `transform`, which `get_feature_names_out` names and `set_output` shows."""
        several = self._model().tokenizer.codes_per_token
        shape = (1, self.tokens_) if several == 1 else (1, self.tokens_, several)
        return int(self._pooled(torch.zeros(shape, dtype=torch.int64)).shape[1])

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
            offset=tokenizer.offset,
            layout=self.layout,
            who=f"SSLTokenizer.{method}",
        )

    def _codes(self, method: str, X: Any) -> Tensor:  # noqa: N803
        tokenizer = self._model().tokenizer
        return encode_series(tokenizer, tokenizer.scaled(self._read(method, X)))

    def _reconstruct(self, data: SeriesSet) -> Tensor:
        tokenizer = self._model().tokenizer
        series = self._decode(encode_series(tokenizer, tokenizer.scaled(data)), data.lengths)
        return series.masked_fill(~data.valid.any(dim=2, keepdim=True), torch.nan)

    def _decode(self, codes: Tensor, lengths: Tensor) -> Tensor:
        tokenizer = self._model().tokenizer
        with torch.no_grad():
            parts = torch.split(codes, DECODE_BATCH)
            series = torch.cat([tokenizer.in_units(tokenizer.decode(part)) for part in parts])
        times = torch.arange(tokenizer.length)
        return series.masked_fill((times >= lengths[:, None])[:, None], torch.nan)

    def _turned(self, series: Tensor) -> Floats:
        result: Floats = self._turned_tensor(series).numpy()
        return result

    def _turned_tensor(self, series: Tensor) -> Tensor:
        """Series `(..., channels, length)` in the layout of X."""
        return series.mT.contiguous() if self.layout == "channels_last" else series

    def _fill(
        self,
        data: SeriesSet,
        labels: Labels,
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
