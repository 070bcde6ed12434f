"""The evaluation report: what each failure shows, what is skipped and why, and what stays."""

import csv
import dataclasses
import importlib.machinery
import io
import json
import math
import pathlib
import re
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssltok.evaluation import Report, ReportRow, Tokens, evaluate
from ssltok.evaluation._rows import Measure, Outcome, run_measure
from ssltok.metrics import (
    RocketEncoder,
    codebook_correlation,
    codebook_usage,
    frechet_distance,
    marginal_distance,
    memorization_ratio,
    token_mutual_information,
)
from ssltok.training import keyed_generator
from tests.evaluation.evaluated import FAIR, LABELS, TEST, TRAIN, order_of


def noise_of_the_same_moments(seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return TRAIN.mean(0) + TRAIN.std(0) * torch.randn(TRAIN.shape, generator=generator)


# Oracle: a row is the metric on the sets it names.


def test_rows_are_the_metrics_themselves() -> None:
    report = evaluate(TRAIN, TEST, FAIR, encoder=lambda x: x.flatten(1))
    row = report["marginal distance"]
    assert row.value == pytest.approx(marginal_distance(TEST, FAIR).item())
    assert row.reference == pytest.approx(marginal_distance(TEST, TRAIN).item())
    mean, std = TRAIN.double().mean(), TRAIN.double().std(correction=0)
    features = [((x - mean) / std).float().double().flatten(1) for x in (TRAIN, TEST, FAIR)]
    centre, width = features[0].mean(0), features[0].std(0)
    train, test, fair = ((f - centre) / width for f in features)
    row = report["Frechet distance (function)"]
    assert row.value == pytest.approx(frechet_distance(test, fair).item(), rel=1e-6)
    assert row.reference == pytest.approx(frechet_distance(test, train).item(), rel=1e-6)
    row = report["memorization ratio"]
    expected = memorization_ratio(TRAIN, TEST, FAIR)
    assert (row.value, row.reference) == pytest.approx([v.item() for v in expected])


def test_the_spread_is_the_scatter_of_random_halves() -> None:
    row = evaluate(TRAIN, TEST, FAIR)["marginal distance"]
    halves, made = [], FAIR[order_of("generated", FAIR)]
    for k in range(5):
        order = torch.randperm(48, generator=keyed_generator(0, "evaluate half", k))
        halves.append(marginal_distance(TEST, made[order[:24]]))
    assert row.spread == pytest.approx(torch.stack(halves).std().item())


def test_generated_and_real_series_are_scored_in_equal_number() -> None:
    many, few = torch.cat([FAIR, noise_of_the_same_moments()]), FAIR[:10]
    assert evaluate(TRAIN, TEST, many)["marginal distance"].cases == 48
    row = evaluate(TRAIN, TEST, few)["marginal distance"]
    assert row.cases == 10
    expected = marginal_distance(TEST, TRAIN[order_of("train", TRAIN)[:10]])
    assert row.reference == pytest.approx(expected.item())


# Known values: each failure is visible in the measure that is meant to show it.


def test_failures_show_where_they_should() -> None:
    reports = {
        "fair": evaluate(TRAIN, TEST, FAIR),
        "noise": evaluate(TRAIN, TEST, noise_of_the_same_moments()),
        "mean": evaluate(TRAIN, TEST, TRAIN.mean(0, keepdim=True).expand_as(TRAIN)),
        "copy": evaluate(TRAIN, TEST, TRAIN),
    }

    def ratio(kind: str, name: str) -> float:
        row = reports[kind][name]
        return row.value / row.reference

    for name in ("autocorrelation distance", "spectral distance", "Frechet distance (ROCKET)"):
        assert ratio("noise", name) > 3
        assert ratio("fair", name) < 2
    assert ratio("noise", "marginal distance") < 2  # same moments, on purpose
    assert reports["mean"]["recall (ROCKET)"].value == 0
    assert reports["mean"]["coverage (ROCKET)"].value < 0.2
    assert reports["fair"]["coverage (ROCKET)"].value > 0.6
    assert reports["copy"]["memorization ratio"].value < 1e-6
    assert reports["copy"]["exact repeats"].value == 1
    assert reports["fair"]["exact repeats"].value == 0
    assert reports["fair"]["memorization ratio"].value == pytest.approx(1, abs=0.25)


def test_tokens_have_their_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = [torch.randint(4, (48, 9), generator=generator) for _ in range(2)]
    made = torch.cat([codes[0][:24], torch.zeros(24, 9, dtype=torch.int64)])
    book = torch.randn(8, 5, generator=generator)
    report = evaluate(
        TRAIN, TEST, FAIR, tokens=Tokens(codes[0], codes[1], made, codebook_size=8, codebook=book),
        train_labels=LABELS, test_labels=LABELS, generated_labels=LABELS,
    )  # fmt: skip
    likeness = codebook_correlation(book).pearson.item()
    assert report["codebook correlation"].value == pytest.approx(likeness)
    assert report["token sequence reuse"].value == 0.5
    assert report["token sequence reuse"].spread > 0
    assert report["token sequence reuse"].reference == 0
    assert report["codebook usage"].value == 0.5
    assert report["codebook perplexity"].value < report["codebook perplexity"].reference
    divergence = report["token divergence"]
    assert divergence.value > 10 * divergence.reference
    assert abs(report["token information, label"].value) < 0.1


def test_tokens_are_scored_in_equal_number_too() -> None:
    """The usage of ten generated sequences stands beside that of the ten training ones."""
    generator = torch.Generator().manual_seed(1)
    codes = tuple(torch.randint(24, (n, 6), generator=generator) for n in (48, 48, 10))
    report = evaluate(
        TRAIN, TEST, FAIR[:10], tokens=Tokens(codes[0], codes[1], codes[2], 64),
        train_labels=LABELS, test_labels=LABELS, generated_labels=LABELS[:10],
    )  # fmt: skip
    order = order_of("train", TRAIN, LABELS, codes[0])[:10]
    row = report["codebook usage"]
    assert row.reference == codebook_usage(codes[0][order], codebook_size=64).item()
    assert row.value == codebook_usage(codes[2], codebook_size=64).item()
    assert row.cases == 10
    row = report["token information, label"]
    expected = token_mutual_information(
        codes[0][order], LABELS[order][:, None].expand(-1, 6), first_size=64, second_size=2,
        generator=keyed_generator(0, "evaluate pairs"),
    )  # fmt: skip
    assert row.reference == pytest.approx(expected.item())
    assert report["codebook correlation"].skipped == "no codebook was given"


def test_an_encoder_sees_series_in_their_own_units_but_rocket() -> None:
    seen: list[Tensor] = []

    def look(x: Tensor) -> Tensor:
        seen.append(x)
        return x.flatten(1)

    evaluate(5 * TRAIN + 100, 5 * TEST + 100, 5 * FAIR + 100, encoder=look)
    expected = 5 * TEST + 100
    torch.testing.assert_close(seen[0], expected[order_of("test", expected)])
    plain, moved = (
        evaluate(
            a * TRAIN + b, a * TEST + b, a * FAIR + b, encoder=RocketEncoder(1, 24, kernels=20)
        )
        for a, b in ((1, 0), (4, 64))
    )
    name = "Frechet distance (ROCKET)"
    assert plain[name].value == pytest.approx(moved[name].value, rel=1e-2)


def test_trained_scores_have_their_rows() -> None:
    report = evaluate(
        TRAIN, TEST, FAIR, steps=40,
        train_labels=LABELS, test_labels=LABELS, generated_labels=LABELS,
    )  # fmt: skip
    cas = report["train on synthetic, test on real (CAS)"]
    assert cas.value > 0.8
    assert cas.reference > 0.8
    assert report["train on real, test on synthetic"].value > 0.8
    assert abs(report["augmentation gain"].value) < 0.2
    assert math.isnan(report["augmentation gain"].reference)
    assert 1 < report["inception score (FCN)"].value <= 2
    for name in ("Frechet distance (FCN)", "discriminative score", "predictive score"):
        row = report[name]
        assert not row.skipped
        assert row.value >= 0
        assert row.reference >= 0
        assert row.spread >= 0


# Laws.


class Counting(nn.Module):
    """Features with batch norm, dropout and a random number."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm1d(1), nn.Dropout(0.5)

    def forward(self, series: Tensor) -> Tensor:
        torch.rand(1)
        features: Tensor = self.dropout(self.norm(series)).flatten(1)
        return features


def test_evaluation_changes_nothing() -> None:
    encoder = Counting().train()
    state = {k: v.clone() for k, v in encoder.state_dict().items()}
    series = [x.clone() for x in (TRAIN, TEST, FAIR)]
    rng = torch.get_rng_state()
    report = evaluate(
        *series, encoder=encoder, steps=2,
        train_labels=LABELS, test_labels=LABELS, generated_labels=LABELS,
    )  # fmt: skip
    assert not report["discriminative score"].skipped
    report.to_html()
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(m.training for m in encoder.modules())
    assert all(torch.equal(v, state[k]) for k, v in encoder.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(series, (TRAIN, TEST, FAIR), strict=True))


def test_one_seed_one_report_and_the_order_of_series_does_not_matter() -> None:
    report = evaluate(TRAIN, TEST, FAIR, seed=4)
    assert evaluate(TRAIN, TEST, FAIR, seed=4).to_json() == report.to_json()
    again = evaluate(TRAIN.flip(0), TEST.flip(0), FAIR.flip(0), seed=4)
    for row in report.rows:
        if not row.skipped:
            assert again[row.name].value == pytest.approx(row.value, rel=1e-5)
            assert again[row.name].reference == pytest.approx(row.reference, rel=1e-5)


# Data as they come: no labels, gaps, unequal lengths, few cases.


def test_runs_without_labels_and_says_so() -> None:
    report = evaluate(TRAIN, TEST, FAIR, steps=1)
    for name in ("inception score (FCN)", "augmentation gain"):
        assert report[name].skipped == "no labels of the training series"
    report = evaluate(TRAIN, TEST, FAIR, steps=1, train_labels=LABELS, test_labels=LABELS)
    cas = report["train on synthetic, test on real (CAS)"]
    assert cas.skipped == "no labels of the generated series"
    report = evaluate(TRAIN, TEST, FAIR)
    assert report["discriminative score"].skipped == "trained scores are left out (steps=0)"
    assert report["cross-correlation distance"].skipped == "one channel"


def test_gaps_and_unequal_lengths_leave_what_is_defined() -> None:
    ragged = [x[:, : 24 - k % 3] for k, x in enumerate(TRAIN.numpy())]
    holes = TEST.clone()
    holes[0, 0, 5] = math.nan
    report = evaluate(ragged, holes, FAIR)
    for name in ("marginal distance", "autocorrelation distance", "skewness distance"):
        assert math.isfinite(report[name].value)
        assert math.isfinite(report[name].reference)
    for name in ("Frechet distance (ROCKET)", "spectral distance", "memorization ratio"):
        assert math.isfinite(report[name].value)
        assert "gaps of 33 of 144 series filled by straight lines, ends held" in report[name].note
    assert "data:image/png;base64," in report.to_html()


def test_what_is_undefined_is_skipped_with_a_reason() -> None:
    report = evaluate(TRAIN, TEST, torch.ones_like(FAIR))
    assert report["skewness distance"].skipped.startswith("undefined for these series")
    few = evaluate(TRAIN[:4], TEST[:4], FAIR[:4])["precision (ROCKET)"]
    assert few.skipped == "precision_recall: cases of real must be >= 6; got 4"
    assert math.isnan(few.value)


def test_an_encoder_without_an_answer_is_skipped_and_said() -> None:
    def broken(x: Tensor) -> Tensor:
        return (x / (x[:, :, :1] > 0)).flatten(1)

    report = evaluate(TRAIN, TEST, FAIR, encoder=broken)
    said = report["kernel distance (function)"].skipped
    assert re.match(
        r"evaluate: the encoder must return finite features; got \d+ of 48 series", said
    )
    assert math.isfinite(report["spectral distance"].value)
    assert "<h2>Features</h2>" not in report.to_html()


def test_several_channels() -> None:
    sets = [torch.cat([x, x.roll(3, 2)], dim=1) for x in (TRAIN, TEST, FAIR)]
    row = evaluate(*sets)["cross-correlation distance"]
    assert 0 < row.value < 0.5


# The formats.


ROWS = (
    ReportRow(group="a", name="first", better="lower", meaning="One.", value=1 / 3, spread=0.01,
              reference=0.25, reference_spread=0.02, cases=40),
    ReportRow(group="a", name="sec|ond", better="as real", meaning="Two.", skipped="no <labels>"),
)  # fmt: skip
REPORT = Report(rows=ROWS, about={"seed": 7}, draw=lambda: {"Look": ("See.", b"PNG")})


def test_formats_say_the_same() -> None:
    text = REPORT.to_text().splitlines()
    assert text[4:] == ["", "seed: 7."]
    assert re.split(r" +\| ?", text[2])[:7] == [
        "first", "lower", "0.3333", "0.01", "0.25", "0.02", "40"
    ]  # fmt: skip
    assert text[3].endswith("skipped: no <labels>")
    markdown = REPORT.to_markdown().splitlines()
    assert markdown[2] == "| first | lower | 0.3333 | 0.01 | 0.25 | 0.02 | 40 |  |"
    assert all(line.count("|") == 9 for line in markdown[:4])
    assert markdown[4:] == ["", "seed: 7."]
    said = json.loads(REPORT.to_json())
    assert said["about"] == {"seed": 7}
    assert said["names"] == ["generated", "real"]
    assert said["rows"][0]["value"] == 1 / 3
    assert said["rows"][1]["value"] is None
    table = list(csv.DictReader(io.StringIO(REPORT.to_csv())))
    assert float(table[0]["value"]) == 1 / 3
    assert table[1]["value"] == ""
    assert table[1]["skipped"] == "no <labels>"


def test_the_page_stands_alone() -> None:
    page = REPORT.to_html()
    assert "no &lt;labels&gt;" in page
    assert "0.333\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.010" in page
    assert 'src="data:image/png;base64,UE5H"' in page
    cells = re.findall("<t[dh][^>]*>(.*?)</t[dh]>", page)
    head = ["measure", "generated", "real", "better", "cases", ""]
    assert cells[:7] == [*head, "A"]
    assert cells[9:13] == ["0.250\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.020", "lower", "40", "One."]
    assert "seed: 7." in page
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)


def test_what_is_skipped_for_one_reason_is_one_line() -> None:
    rows = [
        dataclasses.replace(ROWS[1], name=name, skipped=why)
        for name, why in (("one", "no a"), ("two", "no b"), ("three", "no a"))
    ]
    page = Report(rows=(ROWS[0], *rows), about={}, draw=dict).to_html()
    cells = re.findall("<t[dh][^>]*>(.*?)</t[dh]>", page)
    assert cells[13:] == [
        "Skipped", "2 measures", "-", "-", "", "-", "one, three: no a.",
        "two", "-", "-", "", "-", "no b.",
    ]  # fmt: skip


def test_what_is_infinite_is_skipped() -> None:
    one, wide = torch.ones(2), torch.full((2,), math.inf)
    row = Outcome(wide, one, one, one, cases=5)
    rows = (("a", "lower", "A."), ("b", "lower", "B."))
    found = run_measure(Measure(group="x", rows=rows, obstacle="", compute=lambda: row))
    assert [r.skipped for r in found] == ["infinite for these series"] * 2
    assert math.isnan(found[0].value)
    wild = row._replace(value=row.spread, spread=row.value, reference=row.value)
    found = run_measure(Measure(group="x", rows=rows, obstacle="", compute=lambda: wild, note="n"))
    assert (found[1].value, found[1].note) == (1.0, "n; the reference is infinite")
    assert math.isnan(found[1].reference)
    assert math.isnan(found[1].spread)


def test_saves_five_files_and_draws_its_figures(tmp_path: pathlib.Path) -> None:
    codes = torch.zeros(48, 3, dtype=torch.int64)
    tokens = Tokens(codes, codes, codes, codebook_size=2)
    report = evaluate(
        TRAIN, TEST, FAIR, tokens=tokens,
        train_labels=LABELS, test_labels=LABELS, generated_labels=LABELS,
    )  # fmt: skip
    report.save(tmp_path / "new")
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == [f"report.{e}" for e in ("csv", "html", "json", "md", "txt")]
    page = (tmp_path / "new" / "report.html").read_text()
    assert page.count("data:image/png;base64,iVBOR") == 7
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "Series by class", "Values", "Autocorrelation", "Spectrum", "Nearest neighbours",
        "Features", "Tokens",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "spread", "said"),
    [(85.14, 11.3, "85 ± 11"), (1234.5, 140.0, "1234 ± 140"), (0.00963, 0.00372, "0.0096 ± 0.0037"),
     (2999184.0, 2730659.0, "(3.0 ± 2.7)e6"), (1.23456e8, 12345.0, "(1.23456 ± 0.00012)e8"),
     (-4e5, 0.0, "(-4.0 ± 0.0)e5"), (0.5, 0.0, "0.5 ± 0"),
     (2.0, math.nan, "2"), (3e-9, 2e-9, "3e-09 ± 2e-09")],
)  # fmt: skip
def test_a_figure_has_the_digits_of_its_spread(value: float, spread: float, said: str) -> None:
    row = dataclasses.replace(ROWS[0], value=value, spread=spread)
    page = Report(rows=(row,), about={}, draw=dict).to_html()
    assert f"<td>{said}</td>" in page.replace("\N{NO-BREAK SPACE}", " ")


def test_a_map_of_umap_is_drawn_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    class UMAP:
        def __init__(self, random_state: int, n_jobs: int) -> None:
            seeds.append(random_state)
            assert n_jobs == 1  # umap warns that a seed leaves it one

        def fit_transform(self, points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return points[:, :2]

    module = types.ModuleType("umap")
    module.UMAP = UMAP  # type: ignore[attr-defined]
    module.__spec__ = importlib.machinery.ModuleSpec("umap", None)
    monkeypatch.setitem(sys.modules, "umap", module)
    evaluate(TRAIN, TEST, FAIR, encoder=lambda x: x.flatten(1), seed=9).to_html()
    assert seeds == [9]


def test_a_bar_counts_the_measures(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(TRAIN, TEST, FAIR, encoder=lambda x: x.flatten(1), progress=True)
    assert re.search(r"evaluate: 100%.* 20/20 ", capsys.readouterr().err)


def test_a_missing_name_lists_the_others() -> None:
    with pytest.raises(KeyError, match=r"no measure 'third'; there are \['first', 'sec"):
        REPORT["third"]


# Complaints.


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"^evaluate: steps must be >= 0; got -1$"):
        evaluate(TRAIN, TEST, FAIR, steps=-1)
    with pytest.raises(ValueError, match=r"^evaluate: generated must hold at least 4 series;"):
        evaluate(TRAIN, TEST, FAIR[:3])
    with pytest.raises(ValueError, match=r"must have the same length; got \[24, 24, 20\]$"):
        evaluate(TRAIN, TEST, FAIR[..., :20])
    with pytest.raises(ValueError, match=r"^evaluate: generated: every series must have 1 channel"):
        evaluate(TRAIN, TEST, FAIR.expand(-1, 2, -1))
    with pytest.raises(ValueError, match=r"^evaluate: test_labels: y must hold known labels"):
        evaluate(TRAIN, TEST, FAIR, train_labels=LABELS, test_labels=LABELS + 5)
    with pytest.raises(ValueError, match=r"^evaluate: generated_labels: y must hold one label for"):
        evaluate(TRAIN, TEST, FAIR, train_labels=LABELS, generated_labels=LABELS[:5])
    with pytest.raises(ValueError, match=r"^evaluate: test_labels need train_labels beside them"):
        evaluate(TRAIN, TEST, FAIR, test_labels=LABELS)
    codes = torch.zeros(48, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"^evaluate: tokens.generated must be integers of"):
        evaluate(TRAIN, TEST, FAIR, tokens=Tokens(codes, codes, codes[:4], codebook_size=2))
