"""The script behind the forecast of whole runs: data by reasoning, and a run of a small size."""

import sys

import numpy as np
import pytest
from benchmarks import auto_forecast


def test_classes_differ_in_trend_and_parts_in_their_walks() -> None:
    data = auto_forecast.dataset(6, 9, 2, 50, 3)
    assert data.train.shape == (6, 2, 50)
    assert data.test.shape == (9, 2, 50)
    assert np.asarray(data.test_labels).tolist() == [0, 1, 2] * 3
    assert not np.allclose(data.train, data.test[:6])
    assert auto_forecast.dataset(4, 4, 1, 20, 0).train_labels is None
    ends = [data.test[np.asarray(data.test_labels) == k, :, -1].mean() for k in range(3)]
    assert ends[0] < ends[1] < ends[2]


def test_a_run_is_timed_beside_its_forecast(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(auto_forecast, "SIZES", ((10, 8, 1, 24, 2),))
    words = ["auto_forecast.py", "--minutes", "0.001", "--threads", "1", "--sizes", "0"]
    monkeypatch.setattr(sys, "argv", words)
    auto_forecast.main()
    out = capsys.readouterr().out
    assert "(10, 8, 1, 24, 2): " in out
    assert "fitted over taken: 1.00" in out
