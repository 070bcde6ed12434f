"""The table of Diffusion-TS: its rows are the protocol on other pairs, and a fair coin."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok.evaluation import Report, TS2VecEncoder, diffusion_ts_table
from ssltok.metrics import diffusion_ts_protocol, roughness_score
from ssltok.training import keyed_generator

SCORES = ("Context-FID", "correlational score", "discriminative score", "predictive score")
FIT = partial(TS2VecEncoder.fit, steps=2, dim=4, hidden_dim=4, depth=1)
OPTIONS: dict[str, Any] = {"fit_encoder": FIT, "steps": (2, 3), "repeats": 2}


def windows(cases: int = 121) -> Tensor:
    """Windows of two slow waves, one after the other, in [0, 1]."""
    time = torch.arange(cases + 24) / 9
    noise = 0.002 * torch.randn(2, cases + 24, generator=torch.Generator().manual_seed(0))
    series = 0.5 + 0.4 * torch.stack([torch.sin(time), torch.cos(0.37 * time)]) + noise
    return series.unfold(1, 24, 1).transpose(0, 1)[:cases].contiguous()


REAL = windows()
NOISY = REAL + 0.01 * torch.randn(REAL.shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def table() -> Report:
    return diffusion_ts_table(REAL, torch.cat([NOISY, REAL + 9]), seed=3, **OPTIONS)


def test_rows_are_the_protocol_on_each_pair(table: Report) -> None:
    """The surplus of generated series is dropped; halves are of equal size."""
    pairs = {
        "": (REAL, NOISY),
        ", copy": (REAL, REAL),
        ", first half against second": (REAL[:60], REAL[60:120]),
        ", every second against the others": (REAL[0:120:2], REAL[1:120:2]),
    }
    for place, (x, y) in pairs.items():
        expected = diffusion_ts_protocol(
            x, y, **OPTIONS, generator=keyed_generator(3, "diffusion_ts_table scores")
        )
        rough = roughness_score(
            x, y, repeats=2, generator=keyed_generator(3, "diffusion_ts_table roughness")
        )
        for name, values in zip((*SCORES, "roughness score"), (*expected, rough), strict=True):
            row = table[name + place]
            assert row.value == pytest.approx(values.mean().item(), rel=1e-6, abs=1e-12)
            assert row.spread == pytest.approx(values.std().item(), rel=1e-6, abs=1e-12)
            assert row.cases == len(y)
            assert row.group == name
            if place == ", copy":
                assert math.isnan(row.reference)
            else:
                assert row.reference == table[f"{name}, copy"].value


def test_a_copy_with_a_percent_of_noise_is_caught_by_roughness(table: Report) -> None:
    assert table["roughness score"].value > 0.3
    assert table["roughness score, copy"].value < 0.2
    coin = table["discriminative score, coin"]
    assert table["discriminative score"].value < coin.value + 4 * coin.spread


def test_a_coin_is_the_mean_of_all_its_throws(table: Report) -> None:
    """25 and 25 held-out series of 121: E|k / 50 - 1/2| by summation over all k."""
    for name in ("discriminative score", "roughness score"):
        weights = [math.comb(50, k) / 2**50 for k in range(51)]
        mean = sum(w * abs(k / 50 - 0.5) for k, w in enumerate(weights))
        assert table[f"{name}, coin"].value == pytest.approx(mean)
        square = sum(w * (abs(k / 50 - 0.5) - mean) ** 2 for k, w in enumerate(weights))
        assert table[f"{name}, coin"].spread == pytest.approx(square**0.5)
    for name in ("Context-FID", "correlational score", "predictive score"):
        assert table[f"{name}, coin"].skipped == "a coin answers no question of this score"


def test_it_is_a_report(table: Report) -> None:
    assert table.names == ("score", "of a copy")
    assert "Context-FID, copy" in table.to_markdown()
    assert "roughness" in table.to_html()
    assert table.about["steps"] == "2 and 3"
    assert len(table.rows) == 25
    default = diffusion_ts_table.__kwdefaults__ or {}
    assert default["fit_encoder"] == TS2VecEncoder.fit
    assert (default["steps"], default["repeats"]) == ((2000, 5000), 5)


def test_one_channel_has_no_predictive_score() -> None:
    one = diffusion_ts_table(REAL[:20, :1], NOISY[:20, :1], **OPTIONS)
    assert one["predictive score"].skipped == "one channel"
    assert math.isfinite(one["roughness score"].value)


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"^diffusion_ts_table: real must hold at least 10 series"):
        diffusion_ts_table(REAL[:9], NOISY)
