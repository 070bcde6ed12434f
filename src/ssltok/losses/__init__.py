"""Self-supervised, masked and distillation losses: pure functions and thin modules."""

from ssltok.losses._adversarial import (
    DiscriminatorLoss,
    DiscriminatorTerms,
    GeneratorLoss,
    LeastSquaresDiscriminatorLoss,
    LeastSquaresGeneratorLoss,
    discriminator_loss,
    discriminator_terms,
    generator_loss,
    least_squares_discriminator_loss,
    least_squares_discriminator_terms,
    least_squares_generator_loss,
)
from ssltok.losses._axis_distillation import (
    DAxisDistillationLoss,
    TAxisDistillationLoss,
    d_axis_distillation_loss,
    t_axis_distillation_loss,
)
from ssltok.losses._barlow_twins import (
    BarlowTwinsLoss,
    BarlowTwinsTerms,
    barlow_twins_loss,
    barlow_twins_terms,
)
from ssltok.losses._capi import CAPILoss, capi_loss
from ssltok.losses._center_and_sharpen import center_and_sharpen
from ssltok.losses._cka import CKALoss, cka_loss
from ssltok.losses._coding_rate import coding_rate
from ssltok.losses._cosine_regression import (
    CosineRegressionLoss,
    NegativeCosineLoss,
    cosine_regression_loss,
    negative_cosine_loss,
)
from ssltok.losses._dcl import DCLLoss, DCLWLoss, dcl_loss, dclw_loss
from ssltok.losses._dino import DINOLoss, dino_loss
from ssltok.losses._distillation import (
    DistillationLoss,
    HardDistillationLoss,
    distillation_loss,
    hard_distillation_loss,
)
from ssltok.losses._emp_ssl import EMPSSLLoss, EMPSSLTerms, emp_ssl_loss, emp_ssl_terms
from ssltok.losses._frossl import FroSSLLoss, FroSSLTerms, frossl_loss, frossl_terms
from ssltok.losses._gaussian_kl import GaussianKLLoss, gaussian_kl_loss
from ssltok.losses._gradient_ratio import gradient_ratio
from ssltok.losses._gram_anchoring import GramAnchoringLoss, gram_anchoring_loss
from ssltok.losses._hierarchical_contrastive import (
    HierarchicalContrastiveLoss,
    hierarchical_contrastive_loss,
)
from ssltok.losses._ibot_patch import IBOTPatchLoss, ibot_patch_loss
from ssltok.losses._info_nce import InfoNCELoss, info_nce_loss
from ssltok.losses._koleo import KoLeoLoss, koleo_loss
from ssltok.losses._label_pairs import LabelPairs, label_pairs, multi_similarity_pairs
from ssltok.losses._labelled_nt_xent import LabelledNTXentLoss, labelled_nt_xent_loss
from ssltok.losses._latent_regression import LatentRegressionLoss, latent_regression_loss
from ssltok.losses._layer_target import normalize_over_tokens, topk_layer_target
from ssltok.losses._lejepa import LeJEPALoss, LeJEPATerms, lejepa_loss, lejepa_terms
from ssltok.losses._lenepa import LeNEPALoss, LeNEPATerms, lenepa_loss, lenepa_terms
from ssltok.losses._masked_reconstruction import (
    MaskedReconstructionLoss,
    masked_reconstruction_loss,
)
from ssltok.losses._masked_token import MaskedTokenLoss, masked_token_loss
from ssltok.losses._mmcr import MMCRLoss, mmcr_loss
from ssltok.losses._msn import MSNLoss, MSNTerms, msn_loss, msn_terms, power_law_prior
from ssltok.losses._multi_similarity import MultiSimilarityLoss, multi_similarity_loss
from ssltok.losses._nearest_in_queue import nearest_in_queue
from ssltok.losses._nepa import NEPALoss, nepa_loss
from ssltok.losses._next_token import NextTokenLoss, next_token_loss
from ssltok.losses._nnclr import NNCLRLoss, nnclr_loss
from ssltok.losses._nt_xent import NTXentLoss, nt_xent_loss
from ssltok.losses._pseudo_labels import PseudoLabels, pseudo_labels
from ssltok.losses._region_distillation import RegionDistillationLoss, region_distillation_loss
from ssltok.losses._repa import REPALoss, repa_loss
from ssltok.losses._ressl import ReSSLLoss, ressl_loss
from ssltok.losses._sigreg import SIGRegLoss, sigreg_loss
from ssltok.losses._simdino import SimDINOLoss, SimDINOTerms, simdino_loss, simdino_terms
from ssltok.losses._sinkhorn import sinkhorn
from ssltok.losses._supcon import SupConLoss, supcon_loss
from ssltok.losses._swapped_prediction import SwappedPredictionLoss, swapped_prediction_loss
from ssltok.losses._temporal_contrastive import TemporalContrastiveLoss, temporal_contrastive_loss
from ssltok.losses._tico import TiCoLoss, TiCoTerms, tico_loss, tico_terms
from ssltok.losses._triplet import TripletLoss, triplet_loss
from ssltok.losses._vf import VFLoss, VFTerms, vf_loss, vf_terms
from ssltok.losses._vibcreg import (
    VIbCRegLoss,
    VIbCRegTerms,
    vibcreg_loss,
    vibcreg_terms,
)
from ssltok.losses._vicreg import (
    VICRegLoss,
    VICRegTerms,
    vicreg_loss,
    vicreg_terms,
)
from ssltok.losses._vicregl import (
    VICRegLLoss,
    VICRegLTerms,
    vicregl_loss,
    vicregl_terms,
)
from ssltok.losses._visreg import VISRegLoss, VISRegTerms, visreg_loss, visreg_terms
from ssltok.losses._w_mse import WMSELoss, w_mse_loss
from ssltok.losses._whitening import cholesky_whiten, iterative_whiten

__all__ = [
    "BarlowTwinsLoss",
    "BarlowTwinsTerms",
    "CAPILoss",
    "CKALoss",
    "CosineRegressionLoss",
    "DAxisDistillationLoss",
    "DCLLoss",
    "DCLWLoss",
    "DINOLoss",
    "DiscriminatorLoss",
    "DiscriminatorTerms",
    "DistillationLoss",
    "EMPSSLLoss",
    "EMPSSLTerms",
    "FroSSLLoss",
    "FroSSLTerms",
    "GaussianKLLoss",
    "GeneratorLoss",
    "GramAnchoringLoss",
    "HardDistillationLoss",
    "HierarchicalContrastiveLoss",
    "IBOTPatchLoss",
    "InfoNCELoss",
    "KoLeoLoss",
    "LabelPairs",
    "LabelledNTXentLoss",
    "LatentRegressionLoss",
    "LeJEPALoss",
    "LeJEPATerms",
    "LeNEPALoss",
    "LeNEPATerms",
    "LeastSquaresDiscriminatorLoss",
    "LeastSquaresGeneratorLoss",
    "MMCRLoss",
    "MSNLoss",
    "MSNTerms",
    "MaskedReconstructionLoss",
    "MaskedTokenLoss",
    "MultiSimilarityLoss",
    "NEPALoss",
    "NNCLRLoss",
    "NTXentLoss",
    "NegativeCosineLoss",
    "NextTokenLoss",
    "PseudoLabels",
    "REPALoss",
    "ReSSLLoss",
    "RegionDistillationLoss",
    "SIGRegLoss",
    "SimDINOLoss",
    "SimDINOTerms",
    "SupConLoss",
    "SwappedPredictionLoss",
    "TAxisDistillationLoss",
    "TemporalContrastiveLoss",
    "TiCoLoss",
    "TiCoTerms",
    "TripletLoss",
    "VFLoss",
    "VFTerms",
    "VICRegLLoss",
    "VICRegLTerms",
    "VICRegLoss",
    "VICRegTerms",
    "VISRegLoss",
    "VISRegTerms",
    "VIbCRegLoss",
    "VIbCRegTerms",
    "WMSELoss",
    "barlow_twins_loss",
    "barlow_twins_terms",
    "capi_loss",
    "center_and_sharpen",
    "cholesky_whiten",
    "cka_loss",
    "coding_rate",
    "cosine_regression_loss",
    "d_axis_distillation_loss",
    "dcl_loss",
    "dclw_loss",
    "dino_loss",
    "discriminator_loss",
    "discriminator_terms",
    "distillation_loss",
    "emp_ssl_loss",
    "emp_ssl_terms",
    "frossl_loss",
    "frossl_terms",
    "gaussian_kl_loss",
    "generator_loss",
    "gradient_ratio",
    "gram_anchoring_loss",
    "hard_distillation_loss",
    "hierarchical_contrastive_loss",
    "ibot_patch_loss",
    "info_nce_loss",
    "iterative_whiten",
    "koleo_loss",
    "label_pairs",
    "labelled_nt_xent_loss",
    "latent_regression_loss",
    "least_squares_discriminator_loss",
    "least_squares_discriminator_terms",
    "least_squares_generator_loss",
    "lejepa_loss",
    "lejepa_terms",
    "lenepa_loss",
    "lenepa_terms",
    "masked_reconstruction_loss",
    "masked_token_loss",
    "mmcr_loss",
    "msn_loss",
    "msn_terms",
    "multi_similarity_loss",
    "multi_similarity_pairs",
    "nearest_in_queue",
    "negative_cosine_loss",
    "nepa_loss",
    "next_token_loss",
    "nnclr_loss",
    "normalize_over_tokens",
    "nt_xent_loss",
    "power_law_prior",
    "pseudo_labels",
    "region_distillation_loss",
    "repa_loss",
    "ressl_loss",
    "sigreg_loss",
    "simdino_loss",
    "simdino_terms",
    "sinkhorn",
    "supcon_loss",
    "swapped_prediction_loss",
    "t_axis_distillation_loss",
    "temporal_contrastive_loss",
    "tico_loss",
    "tico_terms",
    "topk_layer_target",
    "triplet_loss",
    "vf_loss",
    "vf_terms",
    "vibcreg_loss",
    "vibcreg_terms",
    "vicreg_loss",
    "vicreg_terms",
    "vicregl_loss",
    "vicregl_terms",
    "visreg_loss",
    "visreg_terms",
    "w_mse_loss",
]
