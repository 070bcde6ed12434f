"""Mask schedules (the share masked at each progress) and samplers of masks; True means masked."""

from ssltok.masking._random import RandomMask, random_mask, schedule_mask
from ssltok.masking._schedules import (
    arccos_schedule,
    cosine_schedule,
    cubic_schedule,
    exponential_schedule,
    linear_schedule,
    logarithmic_schedule,
    square_root_schedule,
    square_schedule,
)

__all__ = [
    "RandomMask",
    "arccos_schedule",
    "cosine_schedule",
    "cubic_schedule",
    "exponential_schedule",
    "linear_schedule",
    "logarithmic_schedule",
    "random_mask",
    "schedule_mask",
    "square_root_schedule",
    "square_schedule",
]
