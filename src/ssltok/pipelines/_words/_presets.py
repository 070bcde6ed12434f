"""The published recipes as configs, a small one for a laptop, and shorter ones for trials."""

import dataclasses
import difflib
import warnings

from ssltok._shared.checks import check_at_least
from ssltok.pipelines._words._config import (
    SSL,
    Augmentation,
    Config,
    DecodingConfig,
    PriorConfig,
    TokenizerConfig,
)
from ssltok.training import TrainingConfig

__all__ = ["compact", "demo", "nc_vqvae", "resolve_preset", "shorten", "timevqvae"]


def nc_vqvae(ssl: SSL = "barlow_twins", augmentation: Augmentation = "slice") -> Config:
    """NC-VQVAE: one branch over all frequencies, and an SSL loss between two views of the tokens.

    Hyper-parameters of the authors' runs. Departures: the codebook starts from k-means and is
    never destroyed by its own update, the mask schedule is the right way round, the loss is on
    masked tokens only, and statistics never see the test split.

    Args:
        ssl: The self-supervised loss; `"none"` is the authors' naive arm.
        augmentation: The second view.

    Returns:
        The preset; vary it with `dataclasses.replace`.

    Raises:
        ValueError: If `ssl` is none of the losses.

    Example:
        >>> from ssltok.pipelines import nc_vqvae
        >>> nc_vqvae("vibcreg").tokenizer.ssl_weight
        0.01

    References:
        Vidar, Lokna et al., *NC-VQVAE*, 2024, <https://arxiv.org/abs/2408.16613>.
    """
    weight = {"none": 0.0, "barlow_twins": 1.0, "vicreg": 0.01, "vibcreg": 0.01}
    if ssl not in weight:
        raise ValueError(f"nc_vqvae: ssl must be one of {sorted(weight)}; got {ssl!r}")
    return Config(
        tokenizer=TokenizerConfig(ssl=ssl, ssl_weight=weight[ssl], augmentation=augmentation),
        tokenizer_training=TrainingConfig(clip=0.0),
        prior_training=TrainingConfig(batch=256, clip=0.0),
    )


def timevqvae() -> Config:
    """TimeVQVAE: a branch for low and a branch for high frequencies, with a prior for each.

    Hyper-parameters of the 2023 paper's code, with the departures of `nc_vqvae`.

    Returns:
        The preset; vary it with `dataclasses.replace`.

    Example:
        >>> from ssltok.pipelines import timevqvae
        >>> timevqvae().tokenizer.widths
        (8, 32)

    References:
        Lee, Malacarne and Aune, *Vector Quantized Time Series Generation with a Bidirectional
        Prior Model*, 2023, <https://arxiv.org/abs/2303.04743>.
    """
    return Config(
        tokenizer=TokenizerConfig(widths=(8, 32), decay=0.8),
        tokenizer_training=TrainingConfig(epochs=2000, weight_decay=1e-5, clip=0.0),
        prior_training=TrainingConfig(epochs=10_000, batch=256, weight_decay=1e-5, clip=0.0),
    )


def compact() -> Config:
    """Our own: what the study in `benchmarks/studies/ssl_tokens` recommends where time is short.

    One branch over an STFT of 4 samples (3 bins, so few tokens and cheap steps), 64 codes of which
    unused ones are put back, Barlow Twins between the series and a warped view at four times its
    usual weight, no rebuilding of the view, small networks at high learning rates, nearly half of
    the time for the tokenizer, a little guidance when sampling. It was chosen on training splits
    and on other series, as the results page says. For long training and large sets, vary it towards
    the papers' sizes.

    Returns:
        The preset; vary it with `dataclasses.replace`.

    Example:
        >>> from ssltok.pipelines import compact
        >>> compact().tokenizer.ssl, compact().tokenizer.n_fft, compact().decoding.guidance
        ('barlow_twins', 4, 1.5)
    """
    return Config(
        tokenizer=TokenizerConfig(
            n_fft=4,
            dim=32,
            blocks=2,
            codebook_size=64,
            revival_ratio=0.1,
            ssl="barlow_twins",
            ssl_weight=4.0,
            augmentation="warp",
            view_weight=0.0,
            projector_dim=256,
        ),
        prior=PriorConfig(dim=64, depth=2, heads=2, mlp_ratio=2.0),
        tokenizer_training=TrainingConfig(
            steps=1000, batch=32, learning_rate=3e-3, warmup_ratio=0.05
        ),
        prior_training=TrainingConfig(steps=2500, batch=32, learning_rate=6e-3, warmup_ratio=0.05),
        decoding=DecodingConfig(guidance=1.5),
    )


def demo() -> Config:
    """A small NC-VQVAE that trains on a laptop's CPU in two minutes: what `ssltok run` trains.

    Returns:
        The preset; vary it with `dataclasses.replace`.

    Example:
        >>> from ssltok.pipelines import demo
        >>> demo().tokenizer.ssl
        'barlow_twins'
    """
    return Config(
        tokenizer=TokenizerConfig(
            n_fft=4,
            widths=(8,),
            codebook_size=64,
            ssl="barlow_twins",
            augmentation="warp",
            projector_dim=512,
            revival_ratio=0.1,
        ),
        prior=PriorConfig(dim=128, depth=2, heads=2, mlp_ratio=2.0),
        tokenizer_training=TrainingConfig(steps=300, batch=32, warmup_ratio=0.05),
        prior_training=TrainingConfig(steps=1000, batch=32, learning_rate=2e-3, warmup_ratio=0.05),
        decoding=DecodingConfig(guidance=2.0),
    )


def shorten(preset: str | Config, *, steps: int) -> Config:
    """A preset with `steps` optimizer steps in each stage, for trials and tests.

    Args:
        preset: A preset's name, or a config.
        steps: Steps of each stage, at least 1.

    Returns:
        The config.

    Raises:
        ValueError: For an unknown preset, or fewer than one step.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.pipelines import shorten
        >>> shorten("timevqvae", steps=3).prior_training.steps
        3
    """
    check_at_least("shorten", "steps", steps, 1)
    config = resolve_preset("shorten", preset)
    return dataclasses.replace(
        config,
        tokenizer_training=dataclasses.replace(config.tokenizer_training, steps=steps),
        prior_training=dataclasses.replace(config.prior_training, steps=steps),
    )


def resolve_preset(who: str, preset: str | Config) -> Config:
    """A preset's config by name, or the config itself.

    Raises:
        ValueError: If there is no preset of this name, or it reads the data first.

    Example:
        >>> from ssltok.pipelines import compact, resolve_preset
        >>> resolve_preset("fit", "compact") == compact()
        True
    """
    if isinstance(preset, Config):
        return preset
    if preset == "ssltok":
        warnings.warn(
            f"{who}: the preset ssltok is compact now; the old name goes in 0.3",
            DeprecationWarning,
            stacklevel=3,
        )
        return compact()
    if preset == "auto":
        raise ValueError(
            f"{who}: preset must have its numbers here; got auto, which reads the data first: "
            "auto(read_series(X)).config has them"
        )
    if preset not in PRESETS:
        near = difflib.get_close_matches(str(preset), list(PRESETS), n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(
            f"{who}: preset must be one of {['auto', *sorted(PRESETS)]} or a Config; "
            f"got {preset!r}{hint}"
        )
    return PRESETS[preset]()


PRESETS = {"compact": compact, "demo": demo, "nc_vqvae": nc_vqvae, "timevqvae": timevqvae}
