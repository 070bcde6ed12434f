"""Evaluate any generator or encoder: rows with their references, figures, a page."""

import importlib
from typing import TYPE_CHECKING, Any

from ssltok._shared.extras import need
from ssltok._shared.scaling import mean_and_scale
from ssltok.evaluation._diffusion_ts import diffusion_ts_table
from ssltok.evaluation._evaluate import evaluate, standard_measures
from ssltok.evaluation._evaluate_encoder import evaluate_encoder
from ssltok.evaluation._judges import FCNJudge, RidgeJudge
from ssltok.evaluation._measures import fidelity_measures, memory_measures, series_measures
from ssltok.evaluation._measures_tokens import token_measures
from ssltok.evaluation._measures_trained import trained_measures
from ssltok.evaluation._report import Report, ReportRow
from ssltok.evaluation._rows import Measure, Outcome
from ssltok.evaluation._samples import Samples, load_samples, save_samples
from ssltok.evaluation._sets import Sets, score_sets
from ssltok.evaluation._tokens import Tokens
from ssltok.evaluation._ts2vec import TS2VecEncoder

if TYPE_CHECKING:
    from ssltok.evaluation._figures import (
        draw_anomalies,
        draw_codebook,
        draw_curves,
        draw_overlay,
        draw_rate,
        draw_reconstructions,
        draw_trace,
        png,
    )

__all__ = [
    "FCNJudge",
    "Measure",
    "Outcome",
    "Report",
    "ReportRow",
    "RidgeJudge",
    "Samples",
    "Sets",
    "TS2VecEncoder",
    "Tokens",
    "diffusion_ts_table",
    "draw_anomalies",
    "draw_codebook",
    "draw_curves",
    "draw_overlay",
    "draw_rate",
    "draw_reconstructions",
    "draw_trace",
    "evaluate",
    "evaluate_encoder",
    "fidelity_measures",
    "load_samples",
    "mean_and_scale",
    "memory_measures",
    "png",
    "save_samples",
    "score_sets",
    "series_measures",
    "standard_measures",
    "token_measures",
    "trained_measures",
]

FIGURES = {
    "draw_anomalies", "draw_codebook", "draw_curves", "draw_overlay", "draw_rate",
    "draw_reconstructions", "draw_trace", "png",
}  # fmt: skip
"""What needs matplotlib, which the table does not."""


def __getattr__(name: str) -> Any:
    if name in FIGURES:
        need(name, "matplotlib.figure")
        return getattr(importlib.import_module("ssltok.evaluation._figures"), name)
    raise AttributeError(f"module 'ssltok.evaluation' has no attribute {name!r}")
