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

from ssltok._shared.describe import PartError, build_described, describe
from ssltok._shared.storage import ArtifactError
from ssltok.pipelines._auto._plan import Plan, auto
from ssltok.pipelines._auto._rate import RatePoint, measure_rate
from ssltok.pipelines._auto._verdict import Finding, verdict
from ssltok.pipelines._branch import Branch
from ssltok.pipelines._estimator import SSLTokenizer
from ssltok.pipelines._fit import Fitted, build_stage_one, encode_series, fit, start_tokenizer
from ssltok.pipelines._folders._artifact import Artifact, load_artifact, save_artifact
from ssltok.pipelines._general._pretrained import PretrainedTokenizer
from ssltok.pipelines._general._stream import CodeStream
from ssltok.pipelines._generate import Decoding, Generated, decode_tokens, generate
from ssltok.pipelines._prior import ConditionedPrior, Prior, PriorBatch, PriorOutput
from ssltok.pipelines._run import run
from ssltok.pipelines._stage_two._causal_prior import CausalPrior
from ssltok.pipelines._stage_two._conditions import Conditions
from ssltok.pipelines._stage_two._prior_loss import loss_by_share
from ssltok.pipelines._stage_two._prior_stage import PriorModel, prior_stage, random_masks
from ssltok.pipelines._stage_two._prior_step import prior_step
from ssltok.pipelines._stages import Comparison, TokenizerModel, compare, tokenizer_stage
from ssltok.pipelines._token_features import TokenFeatures
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._tokenizer_step import (
    EncodedViews,
    TokenizerBatch,
    TokenizerOutput,
    TokenizerTerms,
    encode_views,
    reconstruction_errors,
    tokenizer_step,
)
from ssltok.pipelines._uses._anomalies import AnomalyScores
from ssltok.pipelines._uses._tokenizer_encoder import TokenizerEncoder
from ssltok.pipelines._uses._tokenizer_measures import tokenizer_measures, tokens_of
from ssltok.pipelines._words._build import (
    build_decoding,
    build_objective,
    build_prior,
    build_tokenizer,
)
from ssltok.pipelines._words._config import (
    AutoConfig,
    Config,
    DecodingConfig,
    PriorConfig,
    TokenizerConfig,
)
from ssltok.pipelines._words._parts import Parts, build_part
from ssltok.pipelines._words._presets import (
    compact,
    demo,
    nc_vqvae,
    resolve_preset,
    shorten,
    timevqvae,
)
from ssltok.pipelines._words._values import config_from_dict, config_to_dict

__all__ = [
    "AnomalyScores",
    "Artifact",
    "ArtifactError",
    "AutoConfig",
    "Branch",
    "CausalPrior",
    "CodeStream",
    "Comparison",
    "ConditionedPrior",
    "Conditions",
    "Config",
    "Decoding",
    "DecodingConfig",
    "EncodedViews",
    "Finding",
    "Fitted",
    "Generated",
    "PartError",
    "Parts",
    "Plan",
    "PretrainedTokenizer",
    "Prior",
    "PriorBatch",
    "PriorConfig",
    "PriorModel",
    "PriorOutput",
    "RatePoint",
    "SSLTokenizer",
    "TokenFeatures",
    "Tokenizer",
    "TokenizerBatch",
    "TokenizerConfig",
    "TokenizerEncoder",
    "TokenizerModel",
    "TokenizerOutput",
    "TokenizerTerms",
    "auto",
    "build_decoding",
    "build_described",
    "build_objective",
    "build_part",
    "build_prior",
    "build_stage_one",
    "build_tokenizer",
    "compact",
    "compare",
    "config_from_dict",
    "config_to_dict",
    "decode_tokens",
    "demo",
    "describe",
    "encode_series",
    "encode_views",
    "fit",
    "generate",
    "load_artifact",
    "loss_by_share",
    "measure_rate",
    "nc_vqvae",
    "prior_stage",
    "prior_step",
    "random_masks",
    "reconstruction_errors",
    "resolve_preset",
    "run",
    "save_artifact",
    "shorten",
    "start_tokenizer",
    "timevqvae",
    "tokenizer_measures",
    "tokenizer_stage",
    "tokenizer_step",
    "tokens_of",
    "verdict",
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
