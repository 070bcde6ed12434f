"""The picture of the study of decoding rules: each rule on its line, paired with the default."""

import math

import numpy as np
import pytest
from benchmarks.studies import decoding
from benchmarks.studies.decoding_picture import FAMILIES, draw, family


def test_every_rule_has_a_line() -> None:
    lines = {family(rule) for rule in decoding.RULES}
    assert lines == set(FAMILIES)
    assert family("entropy_bound 2, paced") == "entropy_bound, paced"
    assert family("entropy_bound 2 in the default order") == "entropy_bound, default order"
    assert family("planning 0.5") == "others"


def test_points_are_paired_ratios() -> None:
    rows = [
        {"dataset": name, "seed": seed, "rule": rule, "forwards": forwards, "fid": fid, "cas": cas}
        for name, seed, rule, forwards, fid, cas in (
            ("a", 0, decoding.BASE, 20, 1.0, 0.9), ("b", 0, decoding.BASE, 10, 4.0, 0.8),
            ("a", 0, "schedule 5", 10, 2.0, 0.8), ("b", 0, "schedule 5", 5, 4.0, 0.8),
            ("c", 0, "schedule 5", 5, 9.0, 0.1),  # without a partner: left out
        )
    ]  # fmt: skip
    left, right = draw(rows).axes
    (line,) = (line for line in left.lines if line.get_label() == "schedule")
    np.testing.assert_allclose(np.asarray(line.get_xdata()), [0.5, 1.0])
    np.testing.assert_allclose(np.asarray(line.get_ydata()), [math.sqrt(2), 1.0])
    (line,) = (line for line in right.lines if line.get_label() == "schedule")
    assert list(np.asarray(line.get_ydata())) == pytest.approx([-5.0, 0.0])
