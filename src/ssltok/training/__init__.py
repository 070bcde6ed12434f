"""One engine for every stage, and objectives: what is learned from views."""

from ssltok.training._batches import HoldOut, hold_out, view_generators
from ssltok.training._checkpoints import History
from ssltok.training._config import TrainingConfig
from ssltok.training._engine import ObserveStep, Stage, accelerated, build_accelerator, train_stage
from ssltok.training._objectives._alignment import Alignment
from ssltok.training._objectives._barlow_twins import BarlowTwins
from ssltok.training._objectives._beit import BEiT
from ssltok.training._objectives._byol import BYOL
from ssltok.training._objectives._capi import CAPI
from ssltok.training._objectives._data2vec import Data2Vec
from ssltok.training._objectives._dcl import DCL
from ssltok.training._objectives._dino import DINO
from ssltok.training._objectives._emp_ssl import EMPSSL
from ssltok.training._objectives._frossl import FroSSL
from ssltok.training._objectives._ibot import IBOT
from ssltok.training._objectives._labelled_nt_xent import LabelledNTXent
from ssltok.training._objectives._lejepa import LeJEPA
from ssltok.training._objectives._lenepa import LeNEPA
from ssltok.training._objectives._mae import MAE
from ssltok.training._objectives._mmcr import MMCR
from ssltok.training._objectives._moco import MoCo
from ssltok.training._objectives._multi_similarity import MultiSimilarity
from ssltok.training._objectives._nepa import NEPA
from ssltok.training._objectives._nnclr import NNCLR
from ssltok.training._objectives._nt_xent import NTXent
from ssltok.training._objectives._protocol import Objective, ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._ressl import ReSSL
from ssltok.training._objectives._salt import SALT
from ssltok.training._objectives._sigreg import SIGReg
from ssltok.training._objectives._simdino import SimDINO
from ssltok.training._objectives._simsiam import SimSiam
from ssltok.training._objectives._supcon import SupCon
from ssltok.training._objectives._swav import SwAV
from ssltok.training._objectives._tico import TiCo
from ssltok.training._objectives._ts2vec import TS2Vec
from ssltok.training._objectives._vibcreg import VIbCReg
from ssltok.training._objectives._vicreg import VICReg
from ssltok.training._objectives._vicregl import VICRegL
from ssltok.training._objectives._visreg import VISReg
from ssltok.training._objectives._w_mse import WMSE
from ssltok.training._pretrain import PretrainConfig, Pretrained, pretrain
from ssltok.training._randomness import keyed_generator, keyed_seed, ordered_batch, seeded

__all__ = [
    "BYOL",
    "CAPI",
    "DCL",
    "DINO",
    "EMPSSL",
    "IBOT",
    "MAE",
    "MMCR",
    "NEPA",
    "NNCLR",
    "SALT",
    "WMSE",
    "Alignment",
    "BEiT",
    "BarlowTwins",
    "Data2Vec",
    "FroSSL",
    "History",
    "HoldOut",
    "LabelledNTXent",
    "LeJEPA",
    "LeNEPA",
    "MoCo",
    "MultiSimilarity",
    "NTXent",
    "Objective",
    "ObjectiveBatch",
    "ObjectiveOutput",
    "ObserveStep",
    "PretrainConfig",
    "Pretrained",
    "ReSSL",
    "SIGReg",
    "SimDINO",
    "SimSiam",
    "Stage",
    "SupCon",
    "SwAV",
    "TS2Vec",
    "TiCo",
    "TrainingConfig",
    "VICReg",
    "VICRegL",
    "VISReg",
    "VIbCReg",
    "accelerated",
    "build_accelerator",
    "hold_out",
    "keyed_generator",
    "keyed_seed",
    "ordered_batch",
    "pretrain",
    "seeded",
    "train_stage",
    "view_generators",
]
