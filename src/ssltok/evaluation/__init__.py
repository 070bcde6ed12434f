"""Evaluate any generator or encoder: rows with their references, figures, a page."""

from ssltok.evaluation._evaluate import evaluate
from ssltok.evaluation._evaluate_encoder import evaluate_encoder
from ssltok.evaluation._report import Report, ReportRow
from ssltok.evaluation._tokens import Tokens

__all__ = ["Report", "ReportRow", "Tokens", "evaluate", "evaluate_encoder"]
