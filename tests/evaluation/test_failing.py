"""What cannot be computed or drawn is a line with its reason; JSON is what others read."""

import json
import math
from typing import Any

import pytest

from ssltok._shared.reasons import draw_or_tell
from ssltok.evaluation import Measure, Report, ReportRow
from ssltok.evaluation._page import build_page
from ssltok.evaluation._rows import run_measure


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("who: rule"), "who: rule"),
        (RuntimeError("first\nsecond"), "RuntimeError: first"),
        (IndexError(), "IndexError"),
    ],
)
def test_a_failing_measure_and_a_failing_figure_are_lines(error: Exception, said: str) -> None:
    def fails() -> Any:
        raise error

    measure = Measure(group="g", rows=(("a", "lower", "A."),), obstacle="", compute=fails)
    assert [row.skipped for row in run_measure(measure)] == [said]
    sentence, image = draw_or_tell(fails)
    assert (sentence, image) == (f"Not drawn: {said}", b"")
    page = build_page("t", "i", [], {"Figure": (sentence, image)}, head=("a",))
    assert f"<p>Not drawn: {said}</p>" in page
    assert "<img" not in page


def test_json_has_no_constants_of_python() -> None:
    row = ReportRow(group="g", name="a", better="lower", meaning="A.", value=math.inf)
    about = {"x": math.nan, "deep": {"y": [1.5, -math.inf]}}
    text = Report(rows=(row,), about=about, draw=dict).to_json()

    def refuse(name: str) -> None:
        pytest.fail(name)

    whole = json.loads(text, parse_constant=refuse)
    assert whole["about"] == {"x": None, "deep": {"y": [1.5, None]}}
    assert whole["rows"][0]["value"] is None


def test_lists_are_in_the_file_and_not_in_the_line() -> None:
    about = {"seed": 3, "files": ["a.png", "b.png"], "verdict": ()}
    report = Report(rows=(), about=about, draw=dict)
    assert report.to_text().endswith("\nseed: 3.")
    assert json.loads(report.to_json())["about"]["files"] == ["a.png", "b.png"]
