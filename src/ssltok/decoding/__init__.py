"""Iterative decoding of masked tokens: how many, which, what token, what to mask again."""

from ssltok.decoding._guidance import classifier_free_guidance
from ssltok.decoding._iterative import (
    DecodingState,
    Guidance,
    LogitsFn,
    Observe,
    Order,
    Sample,
    iterative_decode,
)
from ssltok.decoding._orders import (
    confidence_order,
    entropy_order,
    fixed_order,
    margin_order,
    random_order,
)
from ssltok.decoding._sample import temperature_sample

__all__ = [
    "DecodingState",
    "Guidance",
    "LogitsFn",
    "Observe",
    "Order",
    "Sample",
    "classifier_free_guidance",
    "confidence_order",
    "entropy_order",
    "fixed_order",
    "iterative_decode",
    "margin_order",
    "random_order",
    "temperature_sample",
]
