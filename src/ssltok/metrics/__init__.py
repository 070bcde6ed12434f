"""Fidelity, diversity, memorisation, tokens, representation: numbers that can be trusted."""

from ssltok.metrics._fcn import FCNEncoder
from ssltok.metrics._frechet import frechet_distance
from ssltok.metrics._inception import inception_score
from ssltok.metrics._networks import encode
from ssltok.metrics._probes import (
    few_label_accuracy,
    knn_accuracy,
    linear_probe_accuracy,
    svm_probe_accuracy,
)
from ssltok.metrics._reconstruction import ReconstructionError, reconstruction_error
from ssltok.metrics._tokens import (
    CodebookCorrelation,
    codebook_correlation,
    codebook_perplexity,
    codebook_usage,
    token_divergence,
    token_entropy,
    token_histogram,
    token_mutual_information,
)
from ssltok.metrics._usefulness import (
    FitClassifier,
    augmentation_gain,
    fit_fcn_classifier,
    train_on_synthetic_score,
)

__all__ = [
    "CodebookCorrelation",
    "FCNEncoder",
    "FitClassifier",
    "ReconstructionError",
    "augmentation_gain",
    "codebook_correlation",
    "codebook_perplexity",
    "codebook_usage",
    "encode",
    "few_label_accuracy",
    "fit_fcn_classifier",
    "frechet_distance",
    "inception_score",
    "knn_accuracy",
    "linear_probe_accuracy",
    "reconstruction_error",
    "svm_probe_accuracy",
    "token_divergence",
    "token_entropy",
    "token_histogram",
    "token_mutual_information",
    "train_on_synthetic_score",
]
