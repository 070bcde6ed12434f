"""Fidelity, diversity, memorisation, tokens, representation: numbers that can be trusted."""

import warnings
from typing import Any

from ssltok.metrics._anomalies import (
    AnomalyPrecisionRecall,
    archive_accuracy,
    point_precision_recall,
    range_precision_recall,
)
from ssltok.metrics._dense import dense_probe_iou, mean_iou
from ssltok.metrics._dense_structure import DenseStructure, dense_structure
from ssltok.metrics._diffusion_ts import DiffusionTSScores, FitEncoder, diffusion_ts_protocol
from ssltok.metrics._distances import (
    NearestNeighbors,
    dtw_distance,
    euclidean_distance,
    nearest_neighbor_distance,
)
from ssltok.metrics._events import event_average_precision, event_probe_precision
from ssltok.metrics._fcn import FCNEncoder
from ssltok.metrics._finetune import fine_tune_accuracy
from ssltok.metrics._frechet import frechet_distance
from ssltok.metrics._inception import inception_score
from ssltok.metrics._kernel import gaussian_kernel, kernel_distance, polynomial_kernel
from ssltok.metrics._lidar import cka, lidar
from ssltok.metrics._manifold import PrecisionRecall, precision_recall
from ssltok.metrics._memorization import (
    MemorizationRatio,
    exact_repeats,
    memorization_ratio,
    token_reuse,
)
from ssltok.metrics._moments import kurtosis_distance, marginal_distance, skewness_distance
from ssltok.metrics._networks import encode, module_digest
from ssltok.metrics._probes import (
    few_label_accuracy,
    knn_accuracy,
    linear_probe_accuracy,
    svm_probe_accuracy,
)
from ssltok.metrics._protocols import (
    FCNScores,
    nc_vqvae_protocol,
    timevqvae_2023_protocol,
    timevqvae_2024_protocol,
)
from ssltok.metrics._reconstruction import ReconstructionError, reconstruction_error
from ssltok.metrics._representation import alignment, normalized_std, rank_me, uniformity
from ssltok.metrics._rocket import RocketEncoder
from ssltok.metrics._roughness import roughness_score
from ssltok.metrics._scores import discriminative_score, predictive_score
from ssltok.metrics._spectrum import (
    autocorrelation,
    autocorrelation_distance,
    cross_correlation_distance,
    power_spectrum,
    spectral_distance,
)
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
    "AnomalyPrecisionRecall",
    "CodebookCorrelation",
    "DenseStructure",
    "DiffusionTSScores",
    "FCNEncoder",
    "FCNScores",
    "FitClassifier",
    "FitEncoder",
    "MemorizationRatio",
    "NearestNeighbors",
    "PrecisionRecall",
    "ReconstructionError",
    "RocketEncoder",
    "alignment",
    "archive_accuracy",
    "augmentation_gain",
    "autocorrelation",
    "autocorrelation_distance",
    "cka",
    "codebook_correlation",
    "codebook_perplexity",
    "codebook_usage",
    "cross_correlation_distance",
    "dense_probe_iou",
    "dense_structure",
    "diffusion_ts_protocol",
    "discriminative_score",
    "dtw_distance",
    "encode",
    "euclidean_distance",
    "event_average_precision",
    "event_probe_precision",
    "exact_repeats",
    "few_label_accuracy",
    "fine_tune_accuracy",
    "fit_fcn_classifier",
    "frechet_distance",
    "gaussian_kernel",
    "inception_score",
    "kernel_distance",
    "knn_accuracy",
    "kurtosis_distance",
    "lidar",
    "linear_probe_accuracy",
    "marginal_distance",
    "mean_iou",
    "memorization_ratio",
    "module_digest",
    "nc_vqvae_protocol",
    "nearest_neighbor_distance",
    "normalized_std",
    "point_precision_recall",
    "polynomial_kernel",
    "power_spectrum",
    "precision_recall",
    "predictive_score",
    "range_precision_recall",
    "rank_me",
    "reconstruction_error",
    "roughness_score",
    "skewness_distance",
    "spectral_distance",
    "svm_probe_accuracy",
    "timevqvae_2023_protocol",
    "timevqvae_2024_protocol",
    "token_divergence",
    "token_entropy",
    "token_histogram",
    "token_mutual_information",
    "token_reuse",
    "train_on_synthetic_score",
    "uniformity",
]

RENAMED = {
    "diffusion_ts": "diffusion_ts_protocol",
    "ncvqvae": "nc_vqvae_protocol",
    "timevqvae2023": "timevqvae_2023_protocol",
    "timevqvae2024": "timevqvae_2024_protocol",
}
"""Names of 0.1, which work until 0.3, with a warning."""


def __getattr__(name: str) -> Any:
    if name in RENAMED:
        warnings.warn(
            f"ssltok.metrics.{name}: is {RENAMED[name]} now; this name goes in 0.3",
            DeprecationWarning,
            stacklevel=2,
        )
        return globals()[RENAMED[name]]
    raise AttributeError(f"module 'ssltok.metrics' has no attribute {name!r}")
