"""Iterative decoding of masked tokens: how many, which, what token, what to mask again."""

from ssltok.decoding._anomaly import (
    anomaly_score,
    odd_widths,
    score_over_time,
    smoothed_score,
)
from ssltok.decoding._condition import ConditionalLogitsFn, condition_on, in_context
from ssltok.decoding._guidance import classifier_free_guidance
from ssltok.decoding._halton import halton_places
from ssltok.decoding._iterative import (
    DecodingState,
    Drawn,
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
from ssltok.decoding._receptive import receptive_field, token_mask
from ssltok.decoding._remask import (
    RemaskProbability,
    cap_remask,
    confidence_remask,
    critic_order,
    remask_order,
    rescale_remask,
)
from ssltok.decoding._sample import log_probability, temperature_sample
from ssltok.decoding._score import TokenScores, critical_reverse, score, self_token_critic
from ssltok.decoding._trace import DecodingTrace
from ssltok.decoding._uses import forecast, impute, inpaint

__all__ = [
    "ConditionalLogitsFn",
    "DecodingState",
    "DecodingTrace",
    "Drawn",
    "Guidance",
    "LogitsFn",
    "Observe",
    "Order",
    "RemaskProbability",
    "Sample",
    "TokenScores",
    "anomaly_score",
    "cap_remask",
    "classifier_free_guidance",
    "condition_on",
    "confidence_order",
    "confidence_remask",
    "critic_order",
    "critical_reverse",
    "entropy_order",
    "fixed_order",
    "forecast",
    "halton_places",
    "impute",
    "in_context",
    "inpaint",
    "iterative_decode",
    "log_probability",
    "margin_order",
    "odd_widths",
    "random_order",
    "receptive_field",
    "remask_order",
    "rescale_remask",
    "score",
    "score_over_time",
    "self_token_critic",
    "smoothed_score",
    "temperature_sample",
    "token_mask",
]
