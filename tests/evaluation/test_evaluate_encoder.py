"""The report of an encoder: each row is its measure; nothing moves; what is undefined is said."""

import math

import pytest
import torch
from torch import Tensor, nn

from ssltok.evaluation import evaluate_encoder
from ssltok.metrics import (
    few_label_accuracy,
    knn_accuracy,
    linear_probe_accuracy,
    rank_me,
    svm_probe_accuracy,
)
from ssltok.training import keyed_generator


def waves(seed: int, cases: int = 60, length: int = 24) -> tuple[Tensor, Tensor]:
    """Two classes that differ in pitch alone: hidden from a linear eye on the series."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(cases) % 2
    phase = 6.28 * torch.rand(cases, 1, 1, generator=generator)
    time = torch.linspace(0, 6.28, length)
    return 3 * torch.sin((1 + 2 * labels)[:, None, None] * time + phase) + 7, labels


def spectrum(series: Tensor) -> Tensor:
    power: Tensor = torch.fft.rfft(series - 7).abs().flatten(1)
    return power


TRAIN, TEST = waves(0), waves(1, 50)


# Oracle.


def test_rows_are_the_measures_themselves() -> None:
    report = evaluate_encoder(spectrum, *TRAIN, *TEST, repeats=3, seed=5)
    (x, y), (u, v) = TRAIN, TEST
    mean, std = x.double().mean(), x.double().std()
    flat = [((part - mean) / std).flatten(1).double() for part in (x, u)]
    pairs = [(spectrum(x).double(), spectrum(u).double()), (flat[0], flat[1])]
    for name, probe in (
        ("linear probe", linear_probe_accuracy),
        ("linear SVM", svm_probe_accuracy),
        ("k-NN", knn_accuracy),
    ):
        expected = [float(probe(a, y, b, v)) for a, b in pairs]
        row = report[name]
        assert [row.value, row.reference] == pytest.approx(expected, abs=0.021)
        share = (50 * row.value + 2) / 54  # two more of each: 1 of 50 is not 1 for sure
        error = math.sqrt(share * (1 - share) / 54)
        assert row.spread == pytest.approx(error)
        assert row.cases == 50
    scores = few_label_accuracy(
        pairs[0][0], y, pairs[0][1], v, share=0.1, repeats=3,
        generator=keyed_generator(5, "evaluate_encoder few"),
    )  # fmt: skip
    row = report["linear probe, 10 % of labels"]
    assert row.value == pytest.approx(float(scores.mean()))
    assert row.spread == pytest.approx(float(scores.std()))
    assert report["RankMe"].value == pytest.approx(float(rank_me(pairs[0][1])))


# Known values.


def test_a_good_encoder_beats_the_series_and_a_constant_one_does_not() -> None:
    good = evaluate_encoder(spectrum, *TRAIN, *TEST)
    for name, least in (("linear probe", 0.95), ("linear probe, 1 % of labels", 0.8)):
        assert good[name].value > least
        assert good[name].reference < 0.75
    flat = evaluate_encoder(lambda x: torch.ones(len(x), 3), *TRAIN, *TEST)
    assert flat["linear probe"].value == 0.5
    assert flat["normalized std"].value == 0
    assert flat["RankMe"].value == pytest.approx(1)


# Laws.


class Net(nn.Module):
    """Batch statistics and dropout, which evaluation must leave alone."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm1d(1), nn.Dropout(0.2)
        self.layer = nn.Linear(24, 4)

    def forward(self, series: Tensor) -> Tensor:
        features: Tensor = self.layer(self.dropout(self.norm(series))).flatten(1)
        return features


def test_nothing_changes_and_a_seed_brings_it_back() -> None:
    torch.manual_seed(0)
    net = Net().train()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    noise = torch.get_rng_state()
    report = evaluate_encoder(net, *TRAIN, *TEST, steps=2, seed=3)
    assert torch.equal(torch.get_rng_state(), noise)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert net.training
    assert 0 <= report["fine-tuning"].value <= 1
    torch.randn(3)
    assert evaluate_encoder(net, *TRAIN, *TEST, steps=2, seed=3).to_json() == report.to_json()


def test_another_dataset_and_strings_for_labels() -> None:
    """Transfer: the series of another set, with other classes and another length."""
    (x, y), (u, v) = waves(2, 20, 40), waves(3, 20, 40)
    names = [["slow", "fast"][k] for k in y.tolist()], [["slow", "fast"][k] for k in v.tolist()]
    report = evaluate_encoder(spectrum, x, names[0], u, names[1])
    assert report["linear probe"].value > 0.9
    assert report.to_text().splitlines()[0].split(" | ")[2].strip() == "encoder"
    assert "<h1>Evaluation of an encoder</h1>" in report.to_html()


# Complaints.


def test_refuses_and_skips() -> None:
    report = evaluate_encoder(spectrum, *TRAIN, *TEST, steps=1)
    assert report["fine-tuning"].skipped.endswith("only a module can be tuned; got function")
    with pytest.raises(ValueError, match=r"^evaluate_encoder: steps must be >= 0; got -1$"):
        evaluate_encoder(spectrum, *TRAIN, *TEST, steps=-1)
    with pytest.raises(ValueError, match=r"^evaluate_encoder: repeats must be >= 2; got 1$"):
        evaluate_encoder(spectrum, *TRAIN, *TEST, repeats=1)
    with pytest.raises(ValueError, match=r"^evaluate_encoder: test_labels: y must hold known labe"):
        evaluate_encoder(spectrum, *TRAIN, TEST[0], TEST[1] + 7)
    said = (
        r"^evaluate_encoder: the encoder must return finite features; got 60 of 60 series \(train"
    )
    with pytest.raises(ValueError, match=said):
        evaluate_encoder(lambda x: x.flatten(1) * math.nan, *TRAIN, *TEST)
    gaps = TEST[0].clone()
    gaps[0, 0, 3] = math.nan
    with pytest.raises(ValueError, match=r"^evaluate_encoder: test must hold whole series of one"):
        evaluate_encoder(spectrum, *TRAIN, gaps, TEST[1])
