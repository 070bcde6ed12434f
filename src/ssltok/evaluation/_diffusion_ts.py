"""The table of Diffusion-TS with the rows that it lacks: a copy, two halves, a coin, roughness."""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor

import ssltok
from ssltok.evaluation._report import Report, ReportRow
from ssltok.evaluation._ts2vec import TS2VecEncoder
from ssltok.metrics import FitEncoder, diffusion_ts_protocol, roughness_score
from ssltok.training import keyed_generator

__all__ = ["diffusion_ts_table"]

SCORES = {
    "Context-FID": "Frechet distance of an encoder fitted on the real series.",
    "correlational score": "Correlations of channels, of subsets.",
    "discriminative score": "How far a small recurrent network tells it from real: 0 to 0.5.",
    "predictive score": "Error of the last real channel, learned from it; range 1.",
    "roughness score": "How far logistic regression on roughness tells it from real: 0 to 0.5.",
}
TWO_ANSWERS = {"discriminative score", "roughness score"}
INTRO = (
    "The scores of Diffusion-TS, against the very series that the generator learned from, as "
    "published: a copy of them is the best generator. Beside each score stands that of a copy. "
    "What is near the rows of a copy, of a coin, or of every second series against the others "
    "cannot be told from them; what is far above the first half against the second is further from "
    "real series than these are from each other. Roughness is no part of the published table: it "
    "sees a copy with a little noise, and the four others do not. After the sign: the standard "
    "deviation over repeats."
)


def diffusion_ts_table(
    real: Tensor,
    generated: Tensor,
    *,
    fit_encoder: FitEncoder = TS2VecEncoder.fit,
    steps: tuple[int, int] = (2000, 5000),
    repeats: int = 5,
    seed: int = 0,
) -> Report:
    """Score as `diffusion_ts_protocol` does, with the rows beside it that tell what a score means.

    Each of the four scores, and `roughness_score`, is a row of the name of the score, and

    - `..., copy`: the real series in the place of the generated ones;
    - `..., first half against second`: in the order in which they come, which should be that of
      time: as different as the law itself becomes;
    - `..., every second against the others`: neighbours, that overlap where windows do;
    - `..., coin`: of scores that are an accuracy less one half, what guessing reaches on as many
      held-out series, in expectation.

    Args:
        real: Real series in the order of time, `(cases, channels, length)`, at least 10: those the
            generator learned from, for published figures.
        generated: Generated series of the same shape a case.
        fit_encoder: Fits the encoder of Context-FID.
        steps: Budgets of the discriminative and of the predictive score.
        repeats: Of each score.
        seed: Decides everything random.

    Returns:
        The report; `report.save(folder)` writes it.

    Raises:
        ValueError: As `diffusion_ts_protocol` and `roughness_score`.
        ImportError: If scikit-learn is missing.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import diffusion_ts_table
        >>> level = torch.linspace(0, 9, 60)[:, None, None].expand(60, 2, 1)
        >>> real = torch.linspace(0, 1, 16) + level
        >>> noise = 0.1 * torch.randn(60, 2, 16, generator=torch.Generator().manual_seed(0))
        >>> def fit(series, *, generator):
        ...     return lambda series: series.mean(2)
        >>> table = diffusion_ts_table(real, real + noise, fit_encoder=fit, steps=(1, 1))
        >>> table["Context-FID, copy"].value < 1e-9, table["roughness score"].value
        (True, 0.5)

    References:
        Yuan & Qiao, *Diffusion-TS*, 2024, <https://arxiv.org/abs/2403.01742>, section 4.1.
    """
    who = "diffusion_ts_table"
    if len(real) < 10:
        raise ValueError(f"{who}: real must hold at least 10 series; got {len(real)}")
    generated = generated[: len(real)]
    middle = len(real) // 2
    pairs = {
        "": (real, generated),
        ", copy": (real, real),
        ", first half against second": (real[:middle], real[middle : 2 * middle]),
        ", every second against the others": (real[0 : 2 * middle : 2], real[1 : 2 * middle : 2]),
    }
    scores: dict[str, dict[str, Tensor]] = {name: {} for name in SCORES}
    for place, (x, y) in pairs.items():
        published = diffusion_ts_protocol(
            x, y, fit_encoder=fit_encoder, steps=steps, repeats=repeats,
            generator=keyed_generator(seed, f"{who} scores"),
        )  # fmt: skip
        rough = roughness_score(
            x, y, repeats=repeats, generator=keyed_generator(seed, f"{who} roughness")
        )
        for name, values in zip(SCORES, (*published, rough), strict=True):
            scores[name][place] = values
    rows = []
    for name, by_place in scores.items():
        copy = by_place[", copy"]
        for place, values in by_place.items():
            reference = (math.nan,) * 2 if place == ", copy" else _mean_and_spread(copy)
            rows.append(
                _row(name, place, _mean_and_spread(values), reference, len(pairs[place][1]))
            )
        if name in TWO_ANSWERS:
            held_out = (len(real) + 4) // 5 + (len(generated) + 4) // 5
            rows.append(_row(name, ", coin", _coin(held_out), (math.nan,) * 2, held_out))
        else:
            rows.append(_row(name, ", coin", (math.nan,) * 2, (math.nan,) * 2, 0))
    about = {
        "protocol": f"Diffusion-TS, ssltok {ssltok.__version__}",
        "real series": len(real),
        "generated series": len(generated),
        "channels": real.shape[1],
        "length": real.shape[2],
        "steps": "{} and {}".format(*steps),
        "repeats": repeats,
        "encoder": _name(fit_encoder),
        "seed": seed,
        "torch": torch.__version__,
    }
    return Report(
        rows=tuple(rows), about=about, draw=dict, names=("score", "of a copy"),
        title="Scores of Diffusion-TS, with their floors", intro=INTRO,
    )  # fmt: skip


def _row(
    name: str,
    place: str,
    score: tuple[float, float],
    reference: tuple[float, float],
    cases: int,
) -> ReportRow:
    skipped = ""
    if math.isnan(score[0]):
        skipped = "a coin answers no question of this score" if place == ", coin" else "one channel"
    return ReportRow(
        group=name, name=name + place, better="lower", meaning=SCORES[name], skipped=skipped,
        value=score[0], spread=score[1], reference=reference[0], reference_spread=reference[1],
        cases=0 if skipped else cases,
    )  # fmt: skip


def _mean_and_spread(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std()) if len(values) > 1 else math.nan


def _coin(cases: int) -> tuple[float, float]:
    """Mean and standard deviation of the distance of a fair coin's accuracy from one half."""
    right = np.arange(cases + 1)
    weight, score = stats.binom.pmf(right, cases, 0.5), np.abs(right / cases - 0.5)
    mean = float(weight @ score)
    return mean, float(weight @ (score - mean) ** 2) ** 0.5


def _name(fit: Callable[..., object]) -> str:
    return str(getattr(fit, "__qualname__", type(fit).__name__))
