"""The story end to end: data, training, generation, evaluation, and the command.

Three acts: `tokenizer_step` (series become tokens), `prior_step` (hidden tokens are guessed),
`generate` (from masks to new series). `SSLTokenizer` puts them behind fit, encode and sample.
"""

from ssltok.pipelines._artifact import Artifact, load_artifact, save_artifact
from ssltok.pipelines._config import (
    Config,
    DecodingConfig,
    PriorConfig,
    TokenizerConfig,
    TrainingConfig,
)
from ssltok.pipelines._config_json import config_from_dict, config_to_dict
from ssltok.pipelines._data import SeriesSet, label_index, read_series
from ssltok.pipelines._estimator import SSLTokenizer
from ssltok.pipelines._evaluate import evaluate
from ssltok.pipelines._evaluate_encoder import evaluate_encoder
from ssltok.pipelines._evaluation_tokens import Tokens
from ssltok.pipelines._fit import Fitted, encode_series, fit
from ssltok.pipelines._generate import Generated, decode_tokens, generate
from ssltok.pipelines._loaders import Dataset, load_dataset
from ssltok.pipelines._memory import History
from ssltok.pipelines._presets import demo, nc_vqvae, shorten, ssltok, timevqvae
from ssltok.pipelines._prior import Prior, PriorBatch, PriorOutput, prior_step
from ssltok.pipelines._prior_loss import loss_by_share
from ssltok.pipelines._randomness import keyed_generator, keyed_seed, ordered_batch
from ssltok.pipelines._report import Report, ReportRow
from ssltok.pipelines._storage import ArtifactError
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
    "Dataset",
    "DecodingConfig",
    "Fitted",
    "Generated",
    "History",
    "Prior",
    "PriorBatch",
    "PriorConfig",
    "PriorOutput",
    "Report",
    "ReportRow",
    "SSLTokenizer",
    "SeriesSet",
    "Tokenizer",
    "TokenizerBatch",
    "TokenizerConfig",
    "TokenizerEncoder",
    "TokenizerOutput",
    "TokenizerTerms",
    "Tokens",
    "TrainingConfig",
    "build_projector",
    "config_from_dict",
    "config_to_dict",
    "decode_tokens",
    "demo",
    "encode_series",
    "evaluate",
    "evaluate_encoder",
    "fit",
    "generate",
    "keyed_generator",
    "keyed_seed",
    "label_index",
    "load_artifact",
    "load_dataset",
    "loss_by_share",
    "nc_vqvae",
    "ordered_batch",
    "prior_step",
    "read_series",
    "save_artifact",
    "shorten",
    "ssltok",
    "timevqvae",
    "tokenizer_step",
]
