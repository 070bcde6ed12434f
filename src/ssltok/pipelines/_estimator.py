"""`SSLTokenizer`: the whole line behind fit, encode, transform, sample, impute, save, load."""

import os
import pathlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor

from ssltok.data import SeriesSet, SourceSet, is_source, label_index, read_series, read_source
from ssltok.nn import stretch_pool
from ssltok.pipelines._estimator_parameters import PresetEstimator
from ssltok.pipelines._fit import encode_series, fit
from ssltok.pipelines._folders._artifact import (
    Artifact,
    load_artifact,
    provenance,
    save_artifact,
)
from ssltok.pipelines._folders._artifact_checks import check_savable
from ssltok.pipelines._generate import Generated, generate
from ssltok.pipelines._large._in_blocks import blocks_of, in_blocks
from ssltok.pipelines._stage_two._conditions import Conditions, ConditionScale, read_conditions
from ssltok.pipelines._stages import teller
from ssltok.pipelines._uses._anomalies import (
    QUANTILE,
    RATES,
    STRIDE_RATIO,
    AnomalyScores,
    anomaly_scores,
    check_anomaly_options,
    threshold_of,
    usual_scores,
)
from ssltok.pipelines._uses._gaps import Residual, check_residual, usual_residual
from ssltok.pipelines._uses._long import (
    decode_codes,
    encode_long,
    forecast_long,
    impute_long,
    reconstruct_long,
    widen,
)
from ssltok.pipelines._uses._summary import summary_of
from ssltok.pipelines._words._build import build_decoding
from ssltok.pipelines._words._config import AutoConfig, Config
from ssltok.pipelines._words._parts import Parts
from ssltok.training import History, ObserveStep, keyed_generator

__all__ = ["SSLTokenizer"]

Floats = NDArray[np.float32] | NDArray[np.float64]
Labels = Iterable[Hashable] | Tensor | None


class SSLTokenizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, PresetEstimator):  # type: ignore[misc]
    """Learn tokens of time series, and new series from tokens.

    X is an array or tensor `(cases, channels, length)` or `(cases, length)`, or a list of series
    of unequal lengths; NaN marks missing values. See `ssltok.data.read_series`. A memory-mapped
    array (`np.load(..., mmap_mode="r")`) or a `SeriesSource` stays where it is: `fit`, `encode`,
    `transform`, `token_vectors`, `reconstruct` and `score` read some of its rows at a time, and
    hold what they return. Labels are texts,
    numbers or booleans; None, NaN and NA say that a series has none. Results are numpy arrays in
    the units of X: float32, or float64 where a channel lies so far from 0 that float32 would lose
    its digits (or is constant). A channel of a series without any value stays NaN.

    **Parts** take the place of what the preset names. A class or a `functools.partial` is built
    once the sizes are known, anything else is the part itself; see `Parts`, which also holds those
    that have no keyword here. `fit` copies modules before it trains them.

    Args:
        preset: `"auto"`, which is what `ssltok run` trains too: it reads the data first, and
            an `AutoConfig` says how long it may take; `"demo"`, small and the same for all data;
            the papers' `"nc_vqvae"`, `"timevqvae"` and `"compact"`, which take hours; a `Config`;
            or `Parts` (with the numbers of `"demo"`).
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
        settle: Decoding: how many tokens stay, by the model, such as `entropy_bound(0.5)`; with
            it the steps of the preset are the most forwards.
        fill: What completes the rest that tokens leave of a series with gaps, such as
            `GaussianFill`; see `impute`.
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
        observe: Called after each step of `fit` with the stage, `"tokenizer"` or `"prior"`, the
            step and a dict of its terms, such as `lambda stage, step, terms: ...`: for MLflow,
            Weights & Biases, or a plot of your own. It changes nothing of the result.

    Attributes:
        config_: The config used.
        plan_: What `auto` chose, and why; only where the preset is `auto`.
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
        preset: str | AutoConfig | Config | Parts = "auto",
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
        settle: Any = None,
        fill: Any = None,
        parts: Parts | None = None,
        seed: int = 0,
        checkpoints: str | os.PathLike[str] | None = None,
        layout: str | None = None,
        progress: bool = True,
        verbose: bool | int | None = None,
        cpu: bool = False,
        length: int | None = None,
        observe: ObserveStep | None = None,
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
        self.settle = settle
        self.fill = fill
        self.parts = parts
        self.seed = seed
        self.checkpoints = checkpoints
        self.layout = layout
        self.progress = progress
        self.verbose = verbose
        self.cpu = cpu
        self.length = length
        self.observe = observe

    def fit(self, X: Any, y: Labels = None, *, conditions: Any = None) -> Self:  # noqa: N803
        """Train the tokenizer, then the prior on its tokens.

        Args:
            X: Series; see the class. A memory-mapped array (`np.load(..., mmap_mode="r")`) or a
                `SeriesSource` is read batch by batch, and never as a whole.
            y: A label for each series, or None; None, NaN or NA for a series without one.
            conditions: What the prior is told of each series beside its label: covariates
                `(cases, features)`, or known channels `(cases, channels, length)` in the layout of
                X, or `Conditions` of both. They are scaled by their own mean and deviation. A model
                that was told them wants them again wherever it draws or scores.

        Returns:
            The estimator.

        Raises:
            ValueError: If the data, the preset or a part cannot be used; before any training.
            TypeError: If a part lacks a member of its protocol, or a label cannot be saved.
        """
        who = "SSLTokenizer.fit"
        parts = self._parts()
        if self.length is not None and (type(self.length) is not int or self.length < 1):
            raise ValueError(
                f"SSLTokenizer: length must be an integer >= 1, or None; got {self.length!r}"
            )
        read = read_source if is_source(X) else read_series
        data: Any = read(X, layout=self.layout, length=self.length, who=who)
        labels, classes = label_index(y, data.cases, who=who)
        check_savable(who, classes)
        scale, conditioned = None, None
        if conditions is not None:
            conditioned = read_conditions(who, conditions, lengths=data.lengths, layout=self.layout)
            scale = ConditionScale.of(conditioned, data.lengths)
            conditioned = scale.apply(conditioned, data.lengths).cut(
                data.lengths * 0, data.shape[2]
            )
        config = self._config_for(data, len(classes))
        tell = teller(progress=bool(self.progress), verbose=self.verbose)
        if tell is not None and hasattr(self, "plan_"):
            tell("\n".join(self.plan_.reasons))
        folder = None if self.checkpoints is None else pathlib.Path(self.checkpoints)
        fitted = fit(
            data,
            labels,
            config,
            classes=len(classes),
            seed=self.seed,
            folder=folder,
            progress=bool(self.progress),
            tell=tell,
            cpu=self.cpu,
            parts=parts,
            conditions=conditioned,
            observe=self.observe,
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
                lengths=data.lengths.contiguous(),
                labels=labels,
                provenance=origin,
                conditions=scale,
                usual=usual_scores(
                    fitted.tokenizer, fitted.prior, data, conditioned, seed=self.seed
                ),
            )
        )
        return self

    def encode(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """Turn series into codes.

        Args:
            X: Series with the channels of training. Longer ones than those are encoded stretch by
                stretch, each as long as a training series, the last one as long as it is.

        Returns:
            int64 `(cases, tokens)`, in the order low branch, high branch, within each channel by
            channel (where tokens are), frequency by frequency; -1 beyond a series' end. With
            several codes a token `(cases, tokens, codes)`, coarse first. Where X is longer than
            the model, `(cases, stretches * tokens)`, stretch by stretch.
        """
        model, data = self._model(), self._read("encode", X, longer=True)
        codes: NDArray[np.int64] = in_blocks(data, partial(encode_long, model)).numpy()
        return codes

    def transform(self, X: Any) -> Floats:  # noqa: N803
        """Turn series into embeddings: the code vectors, averaged over the real tokens.

        `auto` averages over each of eight stretches of time (`TokenizerConfig.stretches`), which
        say when what occurs; see `ssltok.nn.stretch_pool`.

        Args:
            X: As for `encode`, no longer than the training series.

        Returns:
            float32 `(cases, stretches * dim * branches)`, stretch by stretch; channels side by
            side where tokens are channel by channel, `(cases, channels * ...)`.
        """
        embeddings: Floats = self._of_codes("transform", X, self._pooled).numpy()
        return embeddings

    def _pooled(self, codes: Tensor) -> Tensor:
        tokenizer, stretches = self._model().tokenizer, self._model().config.tokenizer.stretches
        pooled = []
        with torch.no_grad():
            for vectors, real in zip(
                tokenizer.vectors(codes), tokenizer.real_codes(codes), strict=True
            ):
                means = stretch_pool(vectors, real, stretches=stretches)
                pooled.append(means.reshape(len(codes), -1))
        return torch.cat(pooled, dim=1)

    def token_vectors(self, X: Any) -> Floats:  # noqa: N803
        """Turn series into the vectors of their codes, in the order of `encode`.

        Args:
            X: As for `encode`, no longer than the training series.

        Returns:
            float32 `(cases, tokens, dim)`, 0 beyond a series' end.
        """
        tokenizer = self._model().tokenizer

        def vectors_of(codes: Tensor) -> Tensor:
            with torch.no_grad():
                parts = tokenizer.token_vectors(codes)
            return torch.cat(parts, dim=2).transpose(1, 2).contiguous()

        vectors: Floats = self._of_codes("token_vectors", X, vectors_of).numpy()
        return vectors

    def reconstruct(self, X: Any) -> Floats:  # noqa: N803
        """Take series through the tokens and back.

        Args:
            X: As for `encode`. Longer series than those of training are taken in windows that
                overlap by half, put together by `ssltok.data.stitch`.

        Returns:
            `(cases, channels, length)` in the units of X, NaN beyond a series' end and in a
            channel without any value; other missing values are filled by the model.
        """
        model, data = self._model(), self._read("reconstruct", X, longer=True)
        return self._turned(in_blocks(data, partial(reconstruct_long, model)))

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Measure the share of the variance that the tokens explain, 1 at best.

        Args:
            X: As for `encode`, no longer than the training series.
            y: Not read; grid search passes it.

        Returns:
            One less the squared error of `reconstruct` over the squares about the training means,
            both in units of each channel's training standard deviation, over known samples.
        """
        data, tokenizer = self._read("score", X), self._model().tokenizer
        missed = total = 0.0
        for block in blocks_of(data):
            scaled, known = tokenizer.scaled(block).values, block.valid
            rebuilt = (reconstruct_long(self._model(), block) - tokenizer.offset[:, None]).float()
            guess = tokenizer.scale(rebuilt, known)[known]
            missed += float((scaled[known] - guess).square().sum())
            total += float(scaled[known].square().sum())
        return 1 - missed / total

    def decode(self, codes: NDArray[np.int64] | Tensor, *, tokens: int | None = None) -> Floats:
        """Turn codes into series.

        Args:
            codes: int64 `(cases, tokens)`, or with several codes a token, as `encode` gives them;
                or several stretches of so many tokens.
            tokens: Keep the first so many tokens of each branch, where an `OrderedQuantizer` has
                taught the decoder to; None keeps all.

        Returns:
            `(cases, channels, length)` in the units of X, stretch after stretch.

        Raises:
            ValueError: If the codes have another shape, or are out of range.
        """
        tokenizer = self._model().tokenizer
        tensor, several = torch.as_tensor(codes), tokenizer.codes_per_token
        shape = (self.tokens_,) if several == 1 else (self.tokens_, several)
        fits = tensor.ndim == len(shape) + 1 and tensor.shape[2:] == torch.Size(shape[1:])
        if not fits or tensor.shape[1] % shape[0] or tensor.dtype != torch.int64:
            raise ValueError(
                f"SSLTokenizer.decode: codes must be int64 {('cases', *shape)}; "
                f"got {tensor.dtype} {tuple(tensor.shape)}".replace("'", "")
            )
        return self._turned(decode_codes(tokenizer, tensor, tokens=tokens))

    def sample(
        self,
        n: int,
        label: Hashable = None,
        *,
        seed: int = 0,
        lengths: Sequence[int] | None = None,
        conditions: Any = None,
    ) -> Floats:
        """Draw new series in the units of X.

        Args:
            n: How many.
            label: One label for all, or None (NaN, NA) for series of any class.
            seed: Same seed, same series.
            lengths: Samples of each series; None draws from the lengths of the training series
                (of that label).
            conditions: As in `fit`, a row for each new series; where the model was told them.

        Returns:
            `(n, channels, length)` in the units of X, NaN beyond a series' end.

        Raises:
            ValueError: If `n < 1`, or the label or a length is unknown to the model.
        """
        if n < 1:
            raise ValueError(f"SSLTokenizer.sample: n must be >= 1; got {n}")
        drawn = self.generate([label] * n, seed=seed, lengths=lengths, conditions=conditions)
        series: Floats = drawn.series.numpy()
        return series

    def generate(
        self,
        labels: Iterable[Hashable],
        *,
        seed: int = 0,
        lengths: Sequence[int] | None = None,
        conditions: Any = None,
        observe: Any = None,
    ) -> Generated:
        """Draw a new series for each label (None, NaN or NA: of any class); also give its codes.

        `conditions` are as in `fit`, a row for each label, where the model was told them.
        `observe` is called with each decoding step of the first branch, of the first 256 series.

        Raises:
            ValueError: If there is no label, a label is new, or lengths or conditions do not fit.
        """
        artifact, labels = self._model(), list(labels)
        if not labels:
            raise ValueError("SSLTokenizer.generate: labels must be at least one; got none")
        numbers = artifact.numbers(labels, "SSLTokenizer.sample")
        generator = keyed_generator(seed, "sample")
        sizes = (
            artifact.draw_lengths(numbers, generator) if lengths is None else torch.tensor(lengths)
        )
        most = artifact.lengths.max().expand(len(sizes)) if lengths is None else sizes
        conditioned = self._conditions("generate", conditions, most)
        if conditioned is not None:
            conditioned = conditioned.cut(sizes * 0, artifact.tokenizer.length)
        generated = generate(
            artifact.tokenizer,
            artifact.prior,
            labels=numbers,
            lengths=sizes,
            decoding=artifact.decoding,
            generator=generator,
            conditions=conditioned,
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
        conditions: Any = None,
        lengths: Sequence[int] | None = None,
        residual: Residual | None = None,
    ) -> Floats:
        """Draw the missing values of series: NaN before a series' end.

        A model with a fill (`fill` or `gaps` of `TokenizerConfig`, as `auto` has) infers the tokens
        of which something is observed, draws the others, and completes what is decoded by what is
        expected of the rest, given it where the series are observed. Without, every token that
        misses a value is drawn again.

        Args:
            X: As for `encode`; known values stay as they are. Longer series than those of training
                are filled window by window, from left to right.
            y: A label for each series, None where unknown; or None for all.
            samples: Draws of each series, at least 1; their spread says how sure the model is.
            seed: Same seed, same values.
            conditions: As in `fit`, a row for each series; where the model was told them.
            lengths: Samples of each series, where a series goes on behind its last known value;
                None takes that for its end.
            residual: Of a model with a fill: `"mean"` adds what is expected of the rest that tokens
                leave, so draws differ only where tokens are drawn; `"drawn"` one draw of it, so
                that their spread says how sure the model is; `"none"` nothing. None is `"mean"`
                for one draw and `"drawn"` for several, where the fill can draw.

        Returns:
            `(samples, cases, channels, length)` in the units of X, NaN beyond a series' end and,
            but for a model with a fill, in a channel without any value.

        Raises:
            ValueError: If the series or labels are not the model's, or `samples < 1`.
        """
        fill = self._model().tokenizer.fill
        if residual is None:
            residual = usual_residual(fill, samples)
        check_residual("SSLTokenizer.impute", residual, fill)
        data, labels = self._asked("impute", X, y, samples, lengths)
        conditioned = self._conditions("impute", conditions, data.lengths)
        drawn = impute_long(
            self._model(), data, labels=labels, samples=samples, conditions=conditioned,
            generator=keyed_generator(seed, "impute"), residual=residual,
        )  # fmt: skip
        return self._turned(drawn)

    def forecast(
        self,
        X: Any,  # noqa: N803
        y: Labels = None,
        *,
        horizon: int,
        samples: int = 1,
        seed: int = 0,
        conditions: Any = None,
    ) -> Floats:
        """Continue series, each from its own end.

        Args:
            X: As for `encode`, of any length.
            y: A label for each series, None where unknown; or None for all.
            horizon: Samples to draw, at least 1. Where series and horizon are longer than a series
                of training, the model rolls on: half of that length at a time, given what was
                known or drawn before.
            samples: Draws of each series, at least 1.
            seed: Same seed, same values.
            conditions: As in `fit`, a row for each series, where the model was told them; known
                channels from a series' start to the end of its horizon.

        Returns:
            `(samples, cases, channels, horizon)` in the units of X.

        Raises:
            ValueError: If the series or labels are not the model's, or an option is out of range.
        """
        if horizon < 1:
            raise ValueError(f"SSLTokenizer.forecast: horizon must be >= 1; got {horizon}")
        data, labels = self._asked("forecast", X, y, samples)
        conditioned = self._conditions(
            "forecast", conditions, data.lengths + horizon, of="series and horizon"
        )
        drawn = forecast_long(
            self._model(), data, labels=labels, horizon=horizon, samples=samples,
            conditions=conditioned, generator=keyed_generator(seed, "forecast"),
        )  # fmt: skip
        return self._turned(drawn)

    def score_anomalies(
        self,
        X: Any,  # noqa: N803
        *,
        train: Any = None,
        quantile: float = QUANTILE,
        rates: Sequence[float] = RATES,
        stride_ratio: float = STRIDE_RATIO,
        conditions: Any = None,
        train_conditions: Any = None,
    ) -> AnomalyScores:
        """Score how unusual each sample is: how little the prior expects the tokens there.

        Stretches of tokens are hidden and guessed from the others, in windows of the model's length
        that overlap. Departures from the authors' code: windows are averaged and not summed, the
        last one ends with the series, and the threshold is a quantile of final scores.

        Args:
            X: Series with the channels of training, of any length.
            train: Usual series, which give the threshold; None takes that of some series of `fit`,
                which the model keeps for the rates and the stride that are the defaults here.
            quantile: Share of the samples of usual series that lie below the threshold.
            rates: Shares of a window that are hidden at once, in (0, 1].
            stride_ratio: Share of a window between the starts of two, in (0, 1].
            conditions: As in `fit`, a row for each series; where the model was told them.
            train_conditions: Those of `train`.

        Returns:
            `AnomalyScores`: `scores` float32 `(cases, length)`, NaN beyond a series' end, and the
            `threshold`, NaN where neither `train` nor the model gives it.

        Raises:
            ValueError: If the series are not the model's, or an option is out of range.
            TypeError: If an option is not a number.

        References:
            Lee et al., *TimeVQVAE-AD*, 2023, <https://arxiv.org/abs/2311.12550>.
        """
        who, model = "SSLTokenizer.score_anomalies", self._model()
        check_anomaly_options(who, rates=rates, stride_ratio=stride_ratio, quantile=quantile)
        scores = []
        for part, known in ((X, conditions), (train, train_conditions)):
            if part is None:
                continue
            data = self._read_any(who, part)
            conditioned = self._conditions("score_anomalies", known, data.lengths)
            scores.append(
                anomaly_scores(
                    model.tokenizer, model.prior, data, rates=rates, stride_ratio=stride_ratio,
                    conditions=conditioned,
                )
            )  # fmt: skip
        if train is not None:
            threshold = threshold_of(scores[1], quantile)
        elif (tuple(rates), stride_ratio) == (RATES, STRIDE_RATIO) and model.usual is not None:
            threshold = threshold_of(model.usual, quantile)
        else:
            threshold = float("nan")
        return AnomalyScores(scores[0].numpy(), threshold)

    def summary(self) -> str:
        """What the model is: its data, tokens, codes, parts, parameters and training, as text.

        Example:
            >>> import numpy as np
            >>> from ssltok.pipelines import SSLTokenizer, shorten
            >>> X = np.sin(np.linspace(0, 9, 32) * np.linspace(1, 2, 8)[:, None])
            >>> model = SSLTokenizer(shorten("demo", steps=2)).fit(X, list("aabbaabb"))
            >>> print(model.summary().splitlines()[1])
            trained on    8 series, 1 channel, 32 samples; classes: a (4), b (4)
        """
        return summary_of(self._model())

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

    @classmethod
    def from_pretrained(cls, model: str | os.PathLike[str] = "general", **options: Any) -> Any:
        """Load a model that somebody trained, by name, from a folder, or from the hub.

        `general` is one that ships with ssltok and needs no training and no network: it turns
        series of any length, channels and scale into tokens, and back; `fit_prior` or `fit` make
        it one of your series. A folder of `save` or of `save_pretrained`, or `owner/name` (or
        `owner/name@revision`) on the Hugging Face hub, gives what was saved there. Nothing in a
        folder is executed.

        Args:
            model: `general` (the newest), `general-1`, a folder, or a repository of the hub.
            options: For a general tokenizer: `levels`, `patch`, `minutes`, `seed`, `layout`,
                `progress`, `verbose`, `cpu`.

        Returns:
            A `PretrainedTokenizer`, which is an `SSLTokenizer`; or the estimator that was saved.

        Raises:
            ValueError: If there is no such model, or an option is out of range.
            ArtifactError: If the folder is damaged, foreign or unsafe.
            ImportError: If the hub is asked and `huggingface_hub` is missing.

        Example:
            >>> import numpy as np
            >>> from ssltok.pipelines import SSLTokenizer
            >>> SSLTokenizer.from_pretrained("general").encode(np.zeros((2, 3, 40))).shape
            (2, 18, 3)
        """
        from ssltok.pipelines._general._pretrained import load_pretrained

        return load_pretrained(model, **options)

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
    def grids_(self) -> tuple[tuple[int, ...], ...]:
        """The axes of each branch's tokens, `(freq, frames)` or `(frames,)`, low branch first.

        Channels stand in front where tokens are channel by channel.
        """
        return self._model().tokenizer.grids

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

    def _read(
        self,
        method: str,
        X: Any,  # noqa: N803
        *,
        longer: bool = False,
    ) -> SeriesSet | SourceSet:
        """Series as wide as the model at least; those on disk stay there."""
        if not is_source(X):
            return self._read_whole(method, X, longer=longer)
        tokenizer = self._model().tokenizer
        open_as = partial(
            read_source,
            X,
            channels=tokenizer.channels,
            offset=tokenizer.offset,
            layout=self.layout,
            who=f"SSLTokenizer.{method}",
        )
        data = open_as(length=None if longer else tokenizer.length)
        return data if data.shape[2] >= tokenizer.length else open_as(length=tokenizer.length)

    def _read_whole(
        self,
        method: str,
        X: Any,  # noqa: N803
        *,
        longer: bool = False,
        lengths: Sequence[int] | None = None,
    ) -> SeriesSet:
        tokenizer = self._model().tokenizer
        data = read_series(
            X,
            channels=tokenizer.channels,
            length=None if longer else tokenizer.length,
            offset=tokenizer.offset,
            layout=self.layout,
            lengths=lengths,
            who=f"SSLTokenizer.{method}",
        )
        return widen(data, tokenizer.length)

    def _conditions(
        self, method: str, given: Any, lengths: Tensor, *, of: str = "the longest series"
    ) -> Conditions | None:
        """Conditions at the model's scale, where it was told any in training."""
        who, scale = f"SSLTokenizer.{method}", self._model().conditions
        if scale is None and given is None:
            return None
        if scale is None:
            raise ValueError(f"{who}: conditions must be None for a model fitted without; got some")
        words = " and ".join(
            f"{n} {word}"
            for n, word in zip(scale.sizes, ("covariates", "known channels"), strict=True)
            if n
        )
        if given is None:
            raise ValueError(f"{who}: conditions must be given, {words}, as in fit; got None")
        conditioned = read_conditions(who, given, lengths=lengths, layout=self.layout, of=of)
        if conditioned.sizes != scale.sizes:
            raise ValueError(
                f"{who}: conditions must be {words}, as in fit; got {conditioned.sizes[0]} "
                f"covariates and {conditioned.sizes[1]} known channels"
            )
        return scale.apply(conditioned, lengths)

    def _read_any(self, who: str, X: Any) -> SeriesSet:  # noqa: N803
        """Series of any lengths."""
        tokenizer = self._model().tokenizer
        return read_series(
            X, channels=tokenizer.channels, offset=tokenizer.offset, layout=self.layout, who=who
        )

    def _of_codes(self, method: str, X: Any, function: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: N803
        """A function of the codes of series that fit the model."""
        tokenizer = self._model().tokenizer
        return in_blocks(
            self._read(method, X),
            lambda block: function(encode_series(tokenizer, tokenizer.scaled(block))),
        )

    def _turned(self, series: Tensor) -> Floats:
        result: Floats = self._turned_tensor(series).numpy()
        return result

    def _turned_tensor(self, series: Tensor) -> Tensor:
        """Series `(..., channels, length)` in the layout of X."""
        return series.mT.contiguous() if self.layout == "channels_last" else series

    def _asked(
        self,
        method: str,
        X: Any,  # noqa: N803
        y: Labels,
        samples: int,
        lengths: Sequence[int] | None = None,
    ) -> tuple[SeriesSet, Tensor]:
        """The series to draw in, and the numbers of their labels."""
        data = self._read_whole(method, X, longer=True, lengths=lengths)
        cases = len(data.values)
        labels = [None] * cases if y is None else list(y)
        if len(labels) != cases or samples < 1:
            raise ValueError(
                f"SSLTokenizer.{method}: y must hold {cases} labels and samples be >= 1; "
                f"got {len(labels)} and {samples}"
            )
        return data, self._model().numbers(labels, f"SSLTokenizer.{method}")
