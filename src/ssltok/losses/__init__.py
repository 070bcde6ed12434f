"""Self-supervised, masked and distillation losses: pure functions and thin modules."""

from ssltok.losses._barlow_twins import (
    BarlowTwinsLoss,
    BarlowTwinsTerms,
    barlow_twins_loss,
    barlow_twins_terms,
)
from ssltok.losses._masked_token import MaskedTokenLoss, masked_token_loss
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

__all__ = [
    "BarlowTwinsLoss",
    "BarlowTwinsTerms",
    "MaskedTokenLoss",
    "VICRegLoss",
    "VICRegTerms",
    "VIbCRegLoss",
    "VIbCRegTerms",
    "barlow_twins_loss",
    "barlow_twins_terms",
    "masked_token_loss",
    "vibcreg_loss",
    "vibcreg_terms",
    "vicreg_loss",
    "vicreg_terms",
]
