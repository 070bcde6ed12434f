"""Every way to turn vectors into codes, and codes into vectors."""

from ssltok.quantizers._affine_vector import AffineVectorQuantizer
from ssltok.quantizers._balanced import balanced_codes
from ssltok.quantizers._beam import beam_codes
from ssltok.quantizers._bsq import BSQ
from ssltok.quantizers._diveq import DiVeQ
from ssltok.quantizers._drift import codebook_drift_loss
from ssltok.quantizers._ema import code_counts, ema_update_
from ssltok.quantizers._ema_vector import EMAVectorQuantizer
from ssltok.quantizers._estimators import rotation_trick, straight_through
from ssltok.quantizers._fsp import FSP
from ssltok.quantizers._fsq import FSQ
from ssltok.quantizers._grouped import GroupedQuantizer
from ssltok.quantizers._growing import GrowingQuantizer, growing_sizes
from ssltok.quantizers._gumbel import GumbelQuantizer
from ssltok.quantizers._kmeans import Clusters, kmeans
from ssltok.quantizers._late import LateQuantizer
from ssltok.quantizers._lfq import LFQ
from ssltok.quantizers._losses import codebook_entropy_loss, commitment_loss, orthogonality_loss
from ssltok.quantizers._multi_scale import MultiScaleQuantizer
from ssltok.quantizers._nearest import nearest_codes, sample_codes
from ssltok.quantizers._nsvq import NSVQ
from ssltok.quantizers._ordered import OrderedQuantizer
from ssltok.quantizers._projected import ProjectedQuantizer
from ssltok.quantizers._quantized import Quantized, Quantizer
from ssltok.quantizers._random_projection import RandomProjectionQuantizer
from ssltok.quantizers._residual import ResidualQuantizer
from ssltok.quantizers._revival import revive_dead_codes_
from ssltok.quantizers._simvq import SimVQ
from ssltok.quantizers._symmetric_fsq import SymmetricFSQ
from ssltok.quantizers._vector import VectorQuantizer

__all__ = [
    "BSQ",
    "FSP",
    "FSQ",
    "LFQ",
    "NSVQ",
    "AffineVectorQuantizer",
    "Clusters",
    "DiVeQ",
    "EMAVectorQuantizer",
    "GroupedQuantizer",
    "GrowingQuantizer",
    "GumbelQuantizer",
    "LateQuantizer",
    "MultiScaleQuantizer",
    "OrderedQuantizer",
    "ProjectedQuantizer",
    "Quantized",
    "Quantizer",
    "RandomProjectionQuantizer",
    "ResidualQuantizer",
    "SimVQ",
    "SymmetricFSQ",
    "VectorQuantizer",
    "balanced_codes",
    "beam_codes",
    "code_counts",
    "codebook_drift_loss",
    "codebook_entropy_loss",
    "commitment_loss",
    "ema_update_",
    "growing_sizes",
    "kmeans",
    "nearest_codes",
    "orthogonality_loss",
    "revive_dead_codes_",
    "rotation_trick",
    "sample_codes",
    "straight_through",
]
