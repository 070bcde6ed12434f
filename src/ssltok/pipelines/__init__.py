"""The story end to end: a tokenizer, a prior on its tokens, and new series from both.

Three acts: `tokenizer_step` (series become tokens), `prior_step` (hidden tokens are guessed),
`generate` (from masks to new series). `SSLTokenizer` puts them behind fit, encode and sample.
"""

import importlib
import importlib.util
import warnings
from typing import Any

for _package in ("accelerate", "safetensors", "sklearn", "tqdm"):
    if importlib.util.find_spec(_package) is None:
        raise ImportError(
            f"ssltok.pipelines: needs {_package}; install it with: pip install 'ssltok[pipelines]'"
        )

from ssltok._shared.storage import ArtifactError
from ssltok.pipelines._artifact import Artifact, load_artifact, save_artifact
from ssltok.pipelines._config import (
    Config,
    DecodingConfig,
    PriorConfig,
    TokenizerConfig,
)
from ssltok.pipelines._config_json import config_from_dict, config_to_dict
from ssltok.pipelines._estimator import SSLTokenizer
from ssltok.pipelines._fit import Fitted, encode_series, fit
from ssltok.pipelines._generate import Generated, decode_tokens, generate
from ssltok.pipelines._presets import compact, demo, nc_vqvae, resolve_preset, shorten, timevqvae
from ssltok.pipelines._prior import Prior, PriorBatch, PriorOutput, prior_step
from ssltok.pipelines._prior_loss import loss_by_share
from ssltok.pipelines._run import run
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._tokenizer_encoder import TokenizerEncoder
from ssltok.pipelines._tokenizer_step import (
    TokenizerBatch,
    TokenizerOutput,
    TokenizerTerms,
    build_projector,
    tokenizer_step,
)

__all__ = [
    "Artifact",
    "ArtifactError",
    "Config",
    "DecodingConfig",
    "Fitted",
    "Generated",
    "Prior",
    "PriorBatch",
    "PriorConfig",
    "PriorOutput",
    "SSLTokenizer",
    "Tokenizer",
    "TokenizerBatch",
    "TokenizerConfig",
    "TokenizerEncoder",
    "TokenizerOutput",
    "TokenizerTerms",
    "build_projector",
    "compact",
    "config_from_dict",
    "config_to_dict",
    "decode_tokens",
    "demo",
    "encode_series",
    "fit",
    "generate",
    "load_artifact",
    "loss_by_share",
    "nc_vqvae",
    "prior_step",
    "resolve_preset",
    "run",
    "save_artifact",
    "shorten",
    "timevqvae",
    "tokenizer_step",
]

MOVED = {
    "Dataset": "data", "SeriesSet": "data", "label_index": "data", "load_dataset": "data",
    "read_series": "data",
    "Report": "evaluation", "ReportRow": "evaluation", "Tokens": "evaluation",
    "evaluate": "evaluation", "evaluate_encoder": "evaluation",
    "History": "training", "TrainingConfig": "training", "keyed_generator": "training",
    "keyed_seed": "training", "ordered_batch": "training",
}  # fmt: skip
"""Where public names of 0.1 are now; their old address works until 0.3, with a warning."""


def __getattr__(name: str) -> Any:
    if name == "ssltok":
        warnings.warn(
            "ssltok.pipelines.ssltok: the preset is compact now; this name goes in 0.3",
            DeprecationWarning,
            stacklevel=2,
        )
        return compact
    if name in MOVED:
        warnings.warn(
            f"ssltok.pipelines.{name}: is ssltok.{MOVED[name]}.{name} now; this address goes in "
            "0.3",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(f"ssltok.{MOVED[name]}"), name)
    raise AttributeError(f"module 'ssltok.pipelines' has no attribute {name!r}")
