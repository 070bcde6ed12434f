"""A tokenizer that needs no training, as an `SSLTokenizer`."""

import os
import pathlib
import tempfile
from collections.abc import Hashable, Iterable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from torch import Tensor

from ssltok.data import SeriesSet, SourceSet, is_source, label_index, read_series, read_source
from ssltok.pipelines._estimator import SSLTokenizer
from ssltok.pipelines._folders._artifact import Artifact, provenance
from ssltok.pipelines._folders._artifact_checks import check_savable
from ssltok.pipelines._general._coding import channels_of, code_set, series_of, tokens_of
from ssltok.pipelines._general._features import feature_count, features_of
from ssltok.pipelines._general._files import General, is_general, read_general, write_general
from ssltok.pipelines._general._find import find, load_general
from ssltok.pipelines._general._frames import MOST
from ssltok.pipelines._general._hub import upload
from ssltok.pipelines._general._own import Prepared, fit_prior, own_branch, prepared
from ssltok.pipelines._general._stream import CodeStream
from ssltok.pipelines._large._in_blocks import in_blocks
from ssltok.pipelines._stages import teller
from ssltok.pipelines._uses._anomalies import usual_scores
from ssltok.pipelines._words._build import build_decoding
from ssltok.pipelines._words._parts import Parts
from ssltok.signal import Waveform

__all__ = ["PretrainedTokenizer", "load_pretrained"]

Floats = NDArray[np.float32] | NDArray[np.float64]
Labels = Iterable[Hashable] | Tensor | None
LONGEST_PATCH = 1024


class PretrainedTokenizer(SSLTokenizer):
    """An `SSLTokenizer` whose tokenizer is trained; `SSLTokenizer.from_pretrained` loads it.

    `encode`, `decode`, `reconstruct`, `transform`, `score` and `stream` work at once, on series of
    any length and any number of channels, at any scale, with missing values. A code is one of the
    model's 1024, for all series alike.

    **A series becomes frames** of at most 512 samples, all of one size as near as may be, and a
    frame 16 patches of 8 to 32 samples (`patch` says otherwise). Every frame of a channel has one
    token for its level and size, and one for each patch. A token has three codes, coarse first.
    With `levels`, only the first codes of the patches' tokens are given, and -1 for the others.

    **On your series**, `fit_prior` trains a prior on the tokens, and `fit` trains the tokenizer
    further first. Then it is a tokenizer of your series as any other, of their length and channels
    and scale: its `encode` gives that tokenizer's codes, and `sample`, `impute`, `forecast`,
    `score_anomalies` and `save` work.

    Args:
        model: A name (`general`, the newest that ships, or `general-1`), a folder, or `owner/name`
            on the Hugging Face hub.
        levels: Codes of a patch that are given, 1 to 3; None is 3, and 1 where a prior is trained,
            which draws one code of a token far better than three.
        patch: Samples of a patch, 8 to 1024; None chooses by each series' length. Patches of more
            than 32 samples are smoothed.
        minutes: About how long `fit` and `fit_prior` train a prior, on two cores.
        seed: Decides the weights and the order of `fit` and `fit_prior`.
        layout: As `SSLTokenizer`.
        progress: As there.
        verbose: As there.
        cpu: As there.

    Attributes:
        about_: What is known of the model: data, metrics, licence.

    Example:
        >>> import numpy as np
        >>> from ssltok.pipelines import SSLTokenizer
        >>> X = np.sin(np.linspace(0, 9, 96) * np.linspace(1, 2, 8)[:, None])
        >>> tokenizer = SSLTokenizer.from_pretrained("general")
        >>> codes = tokenizer.encode(X)
        >>> codes.shape  # a token of level and size, and one for each of 12 patches
        (8, 13, 3)
        >>> bool(((tokenizer.decode(codes, lengths=96)[:, 0] - X) ** 2).mean() < 0.01 * X.var())
        True
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "general",
        *,
        levels: int | None = None,
        patch: int | None = None,
        minutes: float = 1.0,
        seed: int = 0,
        layout: str | None = None,
        progress: bool = True,
        verbose: bool | int | None = None,
        cpu: bool = False,
    ) -> None:
        self.model = model
        self.levels = levels
        self.patch = patch
        self.minutes = minutes
        self.seed = seed
        self.layout = layout
        self.progress = progress
        self.verbose = verbose
        self.cpu = cpu

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002  as sklearn
        """Parameters by name."""
        parameters: dict[str, Any] = BaseEstimator.get_params(self, deep=False)
        return parameters

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters by name."""
        BaseEstimator.set_params(self, **parameters)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """It encodes from the start."""
        return True

    def fit(self, X: Any, y: Labels = None, *, conditions: Any = None) -> Self:  # noqa: N803
        """Train the tokenizer further on series, then a prior on its tokens.

        Args:
            X: Series, as `SSLTokenizer`.
            y: A label for each series, or None.
            conditions: As `SSLTokenizer.fit`.

        Returns:
            The estimator, now one of these series.

        Raises:
            ValueError: If the data cannot be used; before any training.
        """
        data, labels, classes = self._training("fit", X, y)
        start = self._prepared(data, labels, classes=len(classes))
        levels, patch = self._options(levels=1)
        branch = own_branch(self._general().codec, data.shape[2], patch=patch, levels=levels)
        inner = SSLTokenizer(
            start.config,
            parts=Parts(bands=Waveform, branches=[branch.requires_grad_(True)]),
            seed=self.seed, layout=self.layout, progress=self.progress, verbose=self.verbose,
            cpu=self.cpu,
        ).fit(X, y, conditions=conditions)  # fmt: skip
        self.histories_ = inner.histories_
        self._adopt(inner._model())
        return self

    def fit_prior(self, X: Any, y: Labels = None) -> Self:  # noqa: N803
        """Train a prior on the tokens of series; the tokenizer stays as it is.

        Args:
            X: Series, as `SSLTokenizer`.
            y: A label for each series, or None.

        Returns:
            The estimator, now one of these series.

        Raises:
            ValueError: If the data cannot be used; before any training.
        """
        data, labels, classes = self._training("fit_prior", X, y)
        start = self._prepared(data, labels, classes=len(classes))
        fitted = fit_prior(
            start, data, labels, seed=self.seed, progress=bool(self.progress),
            tell=teller(progress=bool(self.progress), verbose=self.verbose), cpu=self.cpu,
        )  # fmt: skip
        origin = {
            **provenance(), "seed": self.seed, "data": data.digest(), "run": fitted.fingerprint,
        }  # fmt: skip
        self.histories_ = fitted.histories
        self._adopt(
            Artifact(
                config=start.config,
                tokenizer=fitted.tokenizer,
                prior=fitted.prior,
                decoding=build_decoding(start.config.decoding, fitted.tokenizer),
                classes=tuple(classes),
                lengths=data.lengths.contiguous(),
                labels=labels,
                provenance=origin,
                usual=usual_scores(fitted.tokenizer, fitted.prior, data, None, seed=self.seed),
            )
        )
        return self

    def encode(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """Turn series into codes.

        Args:
            X: Series of any lengths and channels.

        Returns:
            int64 `(cases, tokens, 3)`: frame by frame, within it channel by channel, the token of
            level and size, then those of the patches; -1 behind a series' end, in frames without a
            value, and at the levels that were not asked for.
        """
        if self._is_own():
            return super().encode(X)
        data = self._any("encode", X)
        codes: NDArray[np.int64] = in_blocks(data, partial(self._coded, of=data)).numpy()
        return codes

    def decode(
        self,
        codes: NDArray[np.int64] | Tensor,
        *,
        tokens: int | None = None,
        lengths: int | Sequence[int] | None = None,
    ) -> Floats:
        """Turn codes into series.

        Args:
            codes: int64 `(cases, tokens, 3)`, as `encode` gives them; -1 at finer levels lowers the
                rate.
            tokens: As `SSLTokenizer.decode`, once it is one of your series; None before.
            lengths: Samples of the series: one number, or one for each; the tokens do not say it.

        Returns:
            float64 `(cases, channels, length)` in the units of X, NaN behind a series' end.

        Raises:
            ValueError: If the codes have another shape, are out of range, or are not as many as
                series of that length have.
        """
        if self._is_own():
            return super().decode(codes, tokens=tokens)
        who, tensor = "SSLTokenizer.decode", torch.as_tensor(codes)
        if tensor.dtype != torch.int64 or tensor.ndim != 3 or tensor.shape[2] != 3:
            raise ValueError(
                f"{who}: codes must be int64 (cases, tokens, 3); "
                f"got {tensor.dtype} {tuple(tensor.shape)}"
            )
        if tensor.numel() == 0 or int(tensor.min()) < -1 or int(tensor.max()) >= 1024:
            raise ValueError(f"{who}: codes must lie in [-1, 1024), and be some; got others")
        sizes = [lengths] * len(tensor) if isinstance(lengths, int) else lengths
        if sizes is None or len(sizes) != len(tensor) or min(sizes) < 1 or tokens is not None:
            raise ValueError(
                f"{who}: lengths must be the samples of the series, one number or "
                f"{len(tensor)}, each >= 1, and tokens None; got {lengths!r} and {tokens!r}"
            )
        ends, (_, patch) = torch.as_tensor(list(sizes)), self._options()
        channels = channels_of(tensor, ends, patch=patch)
        codec = self._general().codec
        return self._turned(series_of(codec, tensor, ends, patch=patch, channels=channels))

    def reconstruct(self, X: Any) -> Floats:  # noqa: N803
        """Take series of any lengths through the tokens and back, in the units of X.

        Returns:
            float64 `(cases, channels, length)`; NaN behind a series' end and where a frame of a
            channel has no value; other missing values are filled.
        """
        if self._is_own():
            return super().reconstruct(X)
        data = self._any("reconstruct", X)
        return self._turned(in_blocks(data, partial(self._rebuilt, of=data)))

    def transform(self, X: Any) -> Floats:  # noqa: N803
        """Turn series of any lengths into embeddings, by way of their codes alone.

        Returns:
            float32 `(cases, features)`, channels side by side: pooled features of a network that
            reads the decoded tokens, logarithms of level and size, and the means of 32 parts of
            the decoded series. Scale them before a linear model (`StandardScaler`).
        """
        if self._is_own():
            return super().transform(X)
        data = self._any("transform", X)
        _, patch = self._options()

        def of(block: SeriesSet) -> Tensor:
            codec, (_, channels, _) = self._general().codec, block.shape
            codes = self._coded(block, of=data)
            return features_of(codec, codes, block.lengths, patch=patch, channels=channels)

        features: Floats = in_blocks(data, of).numpy()
        return features

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Measure the share of the variance that the tokens explain, 1 at best.

        One less the squared error over the squares about each channel's mean over all of X, both in
        units of the channel's standard deviation over X.
        """
        if self._is_own():
            return super().score(X, y)
        data = self._training("score", X, None)[0]
        exact, known = data.in_units().double(), data.valid
        rebuilt = in_blocks(data, partial(self._rebuilt, of=data))
        mean = exact.nanmean(dim=(0, 2), keepdim=True)
        spread = (exact - mean).square().nansum(dim=(0, 2), keepdim=True)
        wrong = torch.where(known, exact - rebuilt, 0.0).square().sum(dim=(0, 2), keepdim=True)
        counted = known.sum(dim=(0, 2), keepdim=True)
        share = torch.where(spread > 0, wrong / spread.clamp(min=1e-300), 0.0)
        return 1 - float((share * counted).sum() / counted.sum())

    def stream(self, channels: int = 1) -> CodeStream:
        """Return what encodes one series while it comes in, frame by frame.

        The codes are those of `encode` with the same `patch`, which a stream needs: nobody knows
        yet how long the series will be. None takes 32.

        Raises:
            ValueError: If `channels` is not an integer of at least 1.
        """
        levels, patch = self._options()
        if type(channels) is not int or channels < 1:
            raise ValueError(f"SSLTokenizer.stream: channels must be >= 1; got {channels!r}")
        codec = self._general().codec
        return CodeStream(codec, channels=channels, patch=patch or MOST, levels=levels)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> pathlib.Path:
        """Write the general tokenizer as a new folder, with its card, for `from_pretrained`."""
        return write_general(self._general(), folder)

    def push_to_hub(
        self, repository: str, *, private: bool = False, message: str = "ssltok tokenizer"
    ) -> str:
        """Send the general tokenizer to the Hugging Face hub, and return its address.

        Args:
            repository: `owner/name`; made if it does not exist.
            private: Whether a new repository is private.
            message: Of the commit.

        Raises:
            ImportError: If `huggingface_hub` is not installed (the extra `hub`).
        """
        with tempfile.TemporaryDirectory(prefix="ssltok-") as place:
            folder = self.save_pretrained(pathlib.Path(place) / "model")
            return upload(folder, repository, private=private, message=message)

    def summary(self) -> str:
        """What the model is, as text; of a pretrained tokenizer as it is, what is known of it."""
        if self._is_own():
            return super().summary()
        lines = [f"{key}: {value}" for key, value in self.about_.items()]
        return "\n".join(["SSLTokenizer, pretrained", *lines])

    @property
    def about_(self) -> dict[str, Any]:
        """What is known of the model: data, metrics, licence."""
        return dict(self._general().about)

    @property
    def _n_features_out(self) -> int:
        if self._is_own():
            return int(super()._n_features_out)
        raise NotFittedError(
            "SSLTokenizer: the number of features is one of your series' channels, "
            f"{feature_count(self._general().codec)} for each; fit_prior or fit must come first"
        )

    def _model(self) -> Artifact:
        if not self._is_own():
            raise NotFittedError(
                "SSLTokenizer: fit_prior or fit must come first, for all but encode, decode, "
                "reconstruct, transform, score and stream; got a pretrained tokenizer as it is"
            )
        return super()._model()

    def _is_own(self) -> bool:
        return hasattr(self, "artifact_")

    def _general(self) -> General:
        held: tuple[Any, General] | None = self.__dict__.get("_loaded")
        if held is None or held[0] != self.model:
            general = load_general(self.model)
            held = self.__dict__["_loaded"] = (self.model, general)
        return held[1]

    def _options(self, *, levels: int = 3) -> tuple[int, int | None]:
        """Levels, as many as `levels` where they are not given, and the patch."""
        if self.levels is not None:
            levels = self.levels
        if type(levels) is not int or not 1 <= levels <= 3:
            raise ValueError(f"SSLTokenizer: levels must be 1, 2, 3 or None; got {levels!r}")
        patch = self.patch
        if patch is not None and (type(patch) is not int or not 8 <= patch <= LONGEST_PATCH):
            raise ValueError(
                f"SSLTokenizer: patch must be an integer in [8, {LONGEST_PATCH}], or None; "
                f"got {patch!r}"
            )
        return levels, patch

    def _any(self, method: str, X: Any) -> SeriesSet | SourceSet:  # noqa: N803
        self._options()
        who = f"SSLTokenizer.{method}"
        if is_source(X):
            return read_source(X, layout=self.layout, who=who)
        return read_series(X, layout=self.layout, who=who)

    def _coded(self, block: SeriesSet, *, of: SeriesSet | SourceSet) -> Tensor:
        """Codes of some series, as many as the longest of the whole set has."""
        levels, patch = self._options()
        tokens = of.shape[1] * max(tokens_of(n, patch=patch) for n in of.lengths.unique().tolist())
        codec = self._general().codec
        return code_set(codec, block, patch=patch, levels=levels, tokens=tokens)

    def _rebuilt(self, block: SeriesSet, *, of: SeriesSet | SourceSet) -> Tensor:
        """Some series through the tokens and back, as wide as the longest of the whole set."""
        (_, patch), (_, channels, width) = self._options(), of.shape
        series = series_of(
            self._general().codec, self._coded(block, of=of), block.lengths, patch=patch,
            channels=channels,
        )  # fmt: skip
        tail = (0, width - series.shape[2])
        return torch.nn.functional.pad(series, tail, value=torch.nan)

    def _training(
        self,
        method: str,
        X: Any,  # noqa: N803
        y: Labels,
    ) -> tuple[SeriesSet, Tensor, list[Hashable]]:
        who = f"SSLTokenizer.{method}"
        if not self.minutes > 0:
            raise ValueError(f"SSLTokenizer: minutes must be positive; got {self.minutes!r}")
        self._options()
        data = read_series(X, layout=self.layout, who=who)
        labels, classes = label_index(y, data.cases, who=who)
        check_savable(who, classes)
        return data, labels, list(classes)

    def _prepared(self, data: SeriesSet, labels: Tensor, *, classes: int) -> Prepared:
        levels, patch = self._options(levels=1)
        return prepared(
            self._general().codec, data, labels, classes=classes, minutes=self.minutes,
            patch=patch, levels=levels, seed=self.seed, progress=bool(self.progress),
        )  # fmt: skip


def load_pretrained(model: str | os.PathLike[str], **options: Any) -> SSLTokenizer:
    """Load a model by name, folder or repository; see `SSLTokenizer.from_pretrained`."""
    with tempfile.TemporaryDirectory(prefix="ssltok-") as place:
        folder = find(model, into=pathlib.Path(place))
        if not is_general(folder):
            if options:
                raise TypeError(
                    f"from_pretrained: options must be none for a model of SSLTokenizer.save; "
                    f"got {sorted(options)}"
                )
            return SSLTokenizer.load(folder)
        general = read_general(folder)
    tokenizer = PretrainedTokenizer(model, **options)
    tokenizer._options()
    tokenizer.__dict__["_loaded"] = (model, general)
    return tokenizer
