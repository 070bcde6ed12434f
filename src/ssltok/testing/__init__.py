"""Contracts of parts, for people who write their own: each check asks what its protocol says.

A check is a function that raises an `AssertionError` with who, rule and fact at the first broken
law, and returns None where all hold. It needs no test runner, and reads public names alone.
"""

from ssltok.testing._augmentation import check_augmentation
from ssltok.testing._coder import check_coder
from ssltok.testing._loss import check_loss
from ssltok.testing._mask import check_mask
from ssltok.testing._objective import check_objective
from ssltok.testing._prior import check_prior
from ssltok.testing._quantizer import check_quantizer
from ssltok.testing._transform import check_transform

__all__ = [
    "check_augmentation",
    "check_coder",
    "check_loss",
    "check_mask",
    "check_objective",
    "check_prior",
    "check_quantizer",
    "check_transform",
]
