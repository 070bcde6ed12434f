"""Iterative decoding of masked tokens: how many, which, what token, what to mask again."""

from ssltok.decoding._condition import ConditionalLogitsFn, condition_on, in_context
from ssltok.decoding._correct import corrector, quality_loss, self_correction_loss
from ssltok.decoding._count import (
    confidence_factor,
    confidence_threshold,
    entropy_bound,
    rule_schedule,
    stable_prediction,
)
from ssltok.decoding._guidance import (
    classifier_free_guidance,
    interval_scale,
    rising_scale,
    self_guidance,
)
from ssltok.decoding._halton import halton_places
from ssltok.decoding._iterative import (
    DecodingState,
    Drawn,
    Guidance,
    LogitsFn,
    Observe,
    Order,
    Sample,
    Settle,
    iterative_decode,
)
from ssltok.decoding._levels import decode_levels
from ssltok.decoding._moments import moment_order, moment_sample
from ssltok.decoding._orders import (
    confidence_order,
    entropy_order,
    fixed_order,
    margin_order,
    random_order,
)
from ssltok.decoding._plan import (
    RemaskLoop,
    forward_backward_remask,
    planning_order,
    remask_loop,
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
from ssltok.decoding._streams import MaskedModel, ordered_logits, shadow_logits, visit_ranks
from ssltok.decoding._trace import DecodingTrace, ForwardCount
from ssltok.decoding._uses import forecast, impute, inpaint
from ssltok.decoding._verify import ShadowVerification, shadow_verification, speculative

__all__ = [
    "ConditionalLogitsFn",
    "DecodingState",
    "DecodingTrace",
    "Drawn",
    "ForwardCount",
    "Guidance",
    "LogitsFn",
    "MaskedModel",
    "Observe",
    "Order",
    "RemaskLoop",
    "RemaskProbability",
    "Sample",
    "Settle",
    "ShadowVerification",
    "TokenScores",
    "cap_remask",
    "classifier_free_guidance",
    "condition_on",
    "confidence_factor",
    "confidence_order",
    "confidence_remask",
    "confidence_threshold",
    "corrector",
    "critic_order",
    "critical_reverse",
    "decode_levels",
    "entropy_bound",
    "entropy_order",
    "fixed_order",
    "forecast",
    "forward_backward_remask",
    "halton_places",
    "impute",
    "in_context",
    "inpaint",
    "interval_scale",
    "iterative_decode",
    "log_probability",
    "margin_order",
    "moment_order",
    "moment_sample",
    "ordered_logits",
    "planning_order",
    "quality_loss",
    "random_order",
    "receptive_field",
    "remask_loop",
    "remask_order",
    "rescale_remask",
    "rising_scale",
    "rule_schedule",
    "score",
    "self_correction_loss",
    "self_guidance",
    "self_token_critic",
    "shadow_logits",
    "shadow_verification",
    "speculative",
    "stable_prediction",
    "temperature_sample",
    "token_mask",
    "visit_ranks",
]
