"""A model small enough for tests, and series made by a formula."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssltok.pipelines import Config, DecodingConfig, PriorConfig, TokenizerConfig
from ssltok.training import TrainingConfig

__all__ = ["series", "small"]


def small(steps: int = 3, *, batch: int = 6, **tokenizer: Any) -> Config:
    """A config whose stages take `steps` steps of milliseconds."""
    sizes: dict[str, Any] = {
        "dim": 8, "blocks": 1, "codebook_size": 6, "ssl": "barlow_twins", "projector_dim": 12,
        "revival_ratio": 0.1,
    }  # fmt: skip
    return Config(
        tokenizer=TokenizerConfig(**{**sizes, **tokenizer}),
        prior=PriorConfig(dim=16, depth=1, high_dim=16, high_depth=1),
        tokenizer_training=TrainingConfig(steps=steps, batch=batch, checkpoint_every=1),
        prior_training=TrainingConfig(steps=steps, batch=batch, checkpoint_every=1),
        decoding=DecodingConfig(steps=4),
    )


def series(
    cases: int = 10, *, channels: int = 1, length: int = 33, seed: int = 0
) -> NDArray[np.float32]:
    """Waves of two frequencies, by class, with phases of their own."""
    random = np.random.default_rng(seed)
    times = np.linspace(0, 1, length)
    pitch = 2.0 + 3.0 * (np.arange(cases) % 2)
    phase = random.uniform(0, 3, (cases, channels))
    waves = np.sin(6.28 * pitch[:, None, None] * times + phase[:, :, None])
    noise = 0.05 * random.standard_normal(waves.shape)
    return (5.0 + 3.0 * (waves + noise)).astype(np.float32)


def varied(config: Config, **changes: Any) -> Config:
    """`dataclasses.replace`, for the config as a whole."""
    return dataclasses.replace(config, **changes)
