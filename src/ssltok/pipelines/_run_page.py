"""What the page of a run shows: its figures and its table."""

import pathlib
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssltok.data import read_series
from ssltok.evaluation._figures import (
    draw_codebook,
    draw_curves,
    draw_overlay,
    draw_reconstructions,
    draw_trace,
    png,
)
from ssltok.pipelines._estimator import SSLTokenizer
from ssltok.pipelines._prior_loss import SHARES

__all__ = ["PROBES", "Numbers", "run_figures", "run_rows"]

Numbers = dict[str, Any]
PROBES = (("linear", "linear probe"), ("svm", "linear SVM"), ("knn", "k-NN"))


def run_figures(
    estimator: SSLTokenizer,
    test: Any,
    test_labels: Any,
    made: np.ndarray[Any, Any],
    labels: list[Hashable],
    codes: dict[str, Any],
    trace: list[Tensor],
    out: pathlib.Path,
) -> dict[str, tuple[str, bytes]]:
    """Draw what the page shows, keep each as a PNG, and return title: (sentence, PNG)."""
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    held = read_series(test, length=made.shape[2])
    real = held.values.where(held.valid, torch.nan).numpy()
    labels_of_real = [None] * len(real) if test_labels is None else list(test_labels)
    tokenizer = estimator.artifact_.tokenizer
    drawn = {
        "real_and_generated": (
            "Real and generated series",
            "Test series above, new series below, by class.",
            draw_overlay(real, labels_of_real, made, labels),
        ),
        "reconstructions": (
            "Reconstructions",
            "Test series, and what the decoder makes of their tokens.",
            draw_reconstructions(real, estimator.reconstruct(test)),
        ),
        "codebook": (
            "Use of the codebook",
            "How often each code of the first branch occurs in test series and in new ones.",
            draw_codebook(
                codes["real"][:, : tokenizer.sizes[0]],
                codes["generated"][:, : tokenizer.sizes[0]],
                tokenizer.codebook_size,
            ),
        ),
        "curves": (
            "Training",
            "Every term of the loss by step.",
            draw_curves(estimator.histories_),
        ),
        "trace": (
            "A decoding trace",
            "The tokens of one new series: all hidden at first, each step keeps the surest.",
            draw_trace(trace, tokenizer.codebook_size),
        ),
    }
    return {
        title: (sentence, png(figure, folder / f"{name}.png"))
        for name, (title, sentence, figure) in drawn.items()
    }


def run_rows(numbers: Numbers) -> list[tuple[str, str, str, str]]:
    """The page's table: name, figure, reference, meaning."""

    def percent(value: float) -> str:
        return f"{100 * value:.1f} %"

    rows = []
    if "probe_tokens" in numbers:
        reference = percent(numbers["train_on_real_test_on_real"])
        rows += [
            ("train on generated, test on real",
             percent(numbers["train_on_generated_test_on_real"]), reference,
             "an FCN learns from new series only; beside it, from the real ones"),
            ("train on real, test on generated",
             percent(numbers["train_on_real_test_on_generated"]), reference,
             "are new series recognised as their class?"),
            ("Frechet distance", f"{numbers['frechet_distance']['generated']:.2f}",
             f"{numbers['frechet_distance']['real']:.2f}",
             "test series to new ones, in an FCN fitted on train; beside it, test to train"),
            ("inception score", f"{numbers['inception_score']['generated']:.2f}",
             f"{numbers['inception_score']['real']:.2f}", "sure and varied predictions"),
            *[
                (f"{kind} on {view}", percent(numbers[f"probe_{key}"][name]), "", meaning)
                for key, view, meaning in (
                    ("tokens", "tokens", "on the code vectors of all tokens, in their order"),
                    ("pooled", "mean token", "on the mean code vector, as in NC-VQVAE"),
                )
                for name, kind in PROBES
            ],
        ]  # fmt: skip
    shown = [f"{share:g}" for share in SHARES if share in (0.1, 0.5, 1.0)]
    guess, seen = (
        " / ".join(f"{numbers['prior_loss'][part][share]:.2f}" for share in shown)
        for part in ("test", "train")
    )
    usage = ", ".join(percent(value) for value in numbers["codebook"]["usage"])
    perplexity = ", ".join(f"{value:.1f}" for value in numbers["codebook"]["perplexity"])
    rows += [
        ("loss of the prior", guess, seen,
         "nats a token with 10 / 50 / 100 % hidden; beside it, on the training series"),
        ("codes used", usage, "", "by the training series"),
        ("perplexity of codes", perplexity, "", "as varied as so many codes in equal use"),
        ("reconstruction MSE", f"{numbers['reconstruction']['mse']:.4f}", "",
         "in squared units of X"),
    ]  # fmt: skip
    return rows
