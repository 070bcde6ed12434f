"""LARS, and one schedule for any scalar."""

from ssltok.optim._lars import LARS, is_bias_or_norm
from ssltok.optim._schedule import warmup_cosine_schedule

__all__ = ["LARS", "is_bias_or_norm", "warmup_cosine_schedule"]
