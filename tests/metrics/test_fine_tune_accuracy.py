"""Fine-tuning moves a copy of the encoder, and nothing else."""

import pytest
import torch
from torch import Tensor, nn

from ssltok.metrics import fine_tune_accuracy


class Gate(nn.Module):
    """Features are 0 until the gate, which starts shut, is learned open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.norm = nn.BatchNorm1d(1)

    def forward(self, series: Tensor) -> Tensor:
        features: Tensor = self.gate * self.norm(series).mean(2)
        return features


def data() -> tuple[Tensor, Tensor]:
    labels = torch.arange(40) % 2
    noise = torch.randn(40, 1, 5, generator=torch.Generator().manual_seed(0))
    return noise + 3 * (2 * labels - 1)[:, None, None], labels


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_learns_through_the_encoder_and_leaves_it_as_it_was() -> None:
    series, labels = data()
    encoder = Gate().train()
    state = {k: v.clone() for k, v in encoder.state_dict().items()}
    scores = fine_tune_accuracy(
        encoder, series, labels, series, labels,
        steps=80, learning_rate=0.1, repeats=2, generator=seeded(0),
    )  # fmt: skip
    assert scores.tolist() == [1.0, 1.0]  # a head alone, on features that are 0, has 1/2
    assert all(torch.equal(v, state[k]) for k, v in encoder.state_dict().items())
    assert encoder.training
    assert not encoder.gate.requires_grad


def test_a_seed_brings_it_back() -> None:
    series, labels = data()
    net = nn.Sequential(nn.Flatten(), nn.Linear(5, 3))
    options = {"steps": 2, "repeats": 3, "batch_size": 4}
    a, b = (
        fine_tune_accuracy(net, series, labels, series, labels, generator=seeded(1), **options)
        for _ in range(2)
    )
    assert torch.equal(a, b)


class Grid(nn.Module):
    """Features with a time axis, as of a tokenizer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 3, 2)

    def forward(self, series: Tensor) -> Tensor:
        features: Tensor = self.convolution(series)
        return features


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_features_of_several_axes_and_series_of_any_type(dtype: torch.dtype) -> None:
    series, labels = data()
    for encoder in (Grid(), nn.Flatten(), Grid().double()):
        scores = fine_tune_accuracy(
            encoder, series.to(dtype), labels, series.to(dtype), labels,
            steps=60, learning_rate=0.05, repeats=1, generator=seeded(0),
        )  # fmt: skip
        assert scores.item() > 0.9


def test_a_broken_series_leaves_nothing_known() -> None:
    series, labels = data()
    broken = series.clone()
    broken[3, 0, 1] = torch.nan
    for x, u in ((broken, series), (series, broken)):
        assert fine_tune_accuracy(Grid(), x, labels, u, labels, steps=3, repeats=1).isnan().all()


def test_inference_mode_does_not_stop_it() -> None:
    series, labels = data()
    options = {"steps": 3, "repeats": 1}
    net = Grid()
    expected = fine_tune_accuracy(
        net, series, labels, series, labels, generator=seeded(0), **options
    )
    with torch.inference_mode():
        x, y = series.clone(), labels.clone()
        scores = fine_tune_accuracy(net, x, y, x, y, generator=seeded(0), **options)
        assert torch.equal(scores, expected)


def test_refuses() -> None:
    series, labels = data()
    with pytest.raises(TypeError, match=r"encoder must be a module; got function$"):
        fine_tune_accuracy(lambda x: x, series, labels, series, labels)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"^fine_tune_accuracy: labels must have shape \(40,\), on"
    ):
        fine_tune_accuracy(Gate(), series, labels[:3], series, labels)
    with pytest.raises(ValueError, match=r"series and test must have the same channels; got 1 an"):
        fine_tune_accuracy(Gate(), series, labels, series.expand(-1, 2, -1), labels)
    with pytest.raises(ValueError, match=r"^fine_tune_accuracy: labels must be >= 0; got -1$"):
        fine_tune_accuracy(Gate(), series, labels - 1, series, labels)
    with pytest.raises(ValueError, match=r"^fine_tune_accuracy: test_labels must be >= 0; got -1$"):
        fine_tune_accuracy(Gate(), series, labels, series, labels - 1)
    with pytest.raises(ValueError, match=r"learning_rate must be > 0; got 0$"):
        fine_tune_accuracy(Gate(), series, labels, series, labels, learning_rate=0)
    with pytest.raises(ValueError, match=r"^fine_tune_accuracy: steps must be >= 1; got 0$"):
        fine_tune_accuracy(Gate(), series, labels, series, labels, steps=0)
