"""A run that is told what is wrong with it must name that, and nothing else."""

import math

import pytest

from ssltok.evaluation import Report, ReportRow
from ssltok.pipelines import verdict

GOOD = {
    "variance explained": (0.93, 0.95),
    "entropy of codes at a place": (2.1, 2.2),
    "Frechet distance (ROCKET)": (120.0, 76.0),
    "coverage (ROCKET)": (0.62, 0.81),
    "CAS, ridge (ROCKET)": (0.95, 0.99),
    "memorization ratio": (0.9, 1.1),
}


def report_of(**changed: tuple[float, float]) -> Report:
    names = {name.split(" ", maxsplit=1)[0].rstrip(","): name for name in GOOD}
    figures = {**GOOD, **{names[key]: figure for key, figure in changed.items()}}
    rows = tuple(
        ReportRow(group="g", name=n, better="higher", meaning="", value=v, reference=r, cases=99)
        for n, (v, r) in figures.items()
    )
    return Report(rows=rows, about={}, draw=dict)


def test_a_good_run_is_told_nothing() -> None:
    assert verdict(report_of(), majority=0.5) == []


@pytest.mark.parametrize(
    ("changed", "part", "words"),
    [
        ({"variance": (0.62, 0.9)}, "tokenizer", "explain 62% of the variance"),
        ({"entropy": (0.03, 0.04)}, "tokenizer", "the same tokens"),
        ({"Frechet": (229.0, 76.0)}, "prior", "far from real ones"),
        ({"coverage": (0.56, 0.81)}, "prior", "reach 56% of the neighbourhoods"),
        ({"CAS": (0.88, 0.99)}, "prior", "teach a classifier little"),
        ({"memorization": (0.3, 1.1)}, "copies", "nearly copies"),
        ({"CAS": (0.5, 0.53)}, "judge", "read no accuracy"),
    ],
)
def test_each_fault_is_named_and_it_alone(
    changed: dict[str, tuple[float, float]], part: str, words: str
) -> None:
    findings = verdict(report_of(**changed), majority=0.5)
    assert [finding.part for finding in findings] == [part]
    assert words in findings[0].sentence


@pytest.mark.parametrize(
    ("name", "at", "beyond"),
    [
        ("variance", (0.8, 0.9), (0.799, 0.9)),
        ("entropy", (0.1, 2.0), (0.099, 2.0)),
        ("Frechet", (30.0, 10.0), (30.1, 10.0)),
        ("coverage", (0.7, 1.0), (0.699, 1.0)),
        ("CAS", (0.9, 1.0), (0.899, 1.0)),
        ("memorization", (0.4, 1.0), (0.399, 1.0)),
    ],
)
def test_thresholds_are_where_they_are_said_to_be(
    name: str, at: tuple[float, float], beyond: tuple[float, float]
) -> None:
    assert verdict(report_of(**{name: at})) == []
    assert len(verdict(report_of(**{name: beyond}))) == 1


def test_a_tokenizer_at_fault_hides_what_follows_from_it() -> None:
    findings = verdict(report_of(variance=(0.3, 0.3), Frechet=(9e3, 1.0), CAS=(0.1, 1.0)))
    assert [finding.part for finding in findings] == ["tokenizer"]


def test_rows_without_a_figure_are_not_judged() -> None:
    nothing = (math.nan, math.nan)
    assert verdict(report_of(variance=nothing, Frechet=nothing, CAS=nothing)) == []
    assert verdict(report_of(Frechet=(5.0, math.nan))) == []


def test_without_labels_no_judge_is_weak() -> None:
    assert verdict(report_of(CAS=(0.5, 0.53))) == []
