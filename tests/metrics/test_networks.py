"""What trains the networks of metrics: its steps written out, its batches, its first weights."""

import math

import pytest
import torch
from torch import Tensor, nn

from ssltok.metrics._networks import batches, draw_parameters, train


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Line(nn.Module):
    """Two parameters: a slope and a height."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))
        self.height = nn.Parameter(torch.tensor(-1.5, dtype=torch.float64))


# Oracle.


def test_training_is_adamw_and_a_cosine_by_hand() -> None:
    """Loshchilov & Hutter 2019, algorithm 2, betas 0.9 and 0.999, and half a cosine to 0."""
    inputs, targets = torch.tensor([[1.0, -2.0, 0.5, 3.0], [2.0, 1.0, 0.0, 1.0]]).double()
    order = [torch.tensor([0, 2]), torch.tensor([1, 3]), torch.tensor([3, 0]), torch.tensor([2, 1])]
    rate, decay, steps = 0.1, 0.3, len(order)
    line = Line()

    def loss(index: Tensor) -> Tensor:
        error = line.slope * inputs[index] + line.height - targets[index]
        mean: Tensor = error.square().mean()
        return mean

    train(line, loss, order, rate, decay, steps)
    slope, height = 0.7, -1.5
    first, second = [0.0, 0.0], [0.0, 0.0]
    for step, index in enumerate(order):
        pairs = [(float(inputs[i]), float(targets[i])) for i in index]
        errors = [slope * x + height - y for x, y in pairs]
        gradient = [sum(e * x for e, (x, _) in zip(errors, pairs, strict=True)), sum(errors)]
        now = rate * (1 + math.cos(math.pi * step / steps)) / 2
        moved = []
        for k, value in enumerate((slope, height)):
            first[k] = 0.9 * first[k] + 0.1 * gradient[k]
            second[k] = 0.999 * second[k] + 0.001 * gradient[k] ** 2
            mean = first[k] / (1 - 0.9 ** (step + 1))
            size = math.sqrt(second[k] / (1 - 0.999 ** (step + 1))) + 1e-8
            moved.append(value - now * decay * value - now * mean / size)
        slope, height = moved
    assert line.slope.item() == pytest.approx(slope, rel=1e-9)
    assert line.height.item() == pytest.approx(height, rel=1e-9)
    assert not line.training


# Laws.


@pytest.mark.parametrize(("cases", "size"), [(7, 3), (6, 3), (5, 5), (4, 9)])
def test_every_case_comes_once_an_epoch(cases: int, size: int) -> None:
    parts = list(batches(cases, size=size, steps=3 * cases, generator=seeded(0)))
    assert {len(part) for part in parts} == {min(size, cases)}
    assert len(parts) == 3 * cases
    flat = torch.cat(parts)
    epochs = flat[: len(flat) // cases * cases].view(-1, cases)
    assert all(sorted(epoch.tolist()) == list(range(cases)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) > 1


def test_first_weights_fill_the_published_interval() -> None:
    """Uniform in +-1/sqrt(fan in), biases too: within it, and near both ends."""
    with torch.device("meta"):
        linear, convolution, gru = nn.Linear(9, 400), nn.Conv1d(3, 400, 5), nn.GRU(2, 25)
        norm = nn.BatchNorm1d(4)
    draw_parameters(nn.ModuleList([linear, convolution, gru, norm]), seeded(1))
    bounds: list[tuple[nn.Module, float]] = [
        (linear, 9**-0.5), (convolution, 15**-0.5), (gru, 25**-0.5)
    ]  # fmt: skip
    for part, bound in bounds:
        for key, parameter in part.named_parameters():
            assert parameter.abs().max() <= bound, key
            assert parameter.max() > 0.9 * bound, key
            assert parameter.min() < -0.9 * bound, key
            assert parameter.mean().abs() < 0.2 * bound, key
    assert norm.weight.tolist() == [1.0] * 4
    assert norm.bias.tolist() == [0.0] * 4
    again = nn.init.uniform_(torch.empty(400, 9), -(9**-0.5), 9**-0.5, generator=seeded(1))
    assert torch.equal(linear.weight, again)  # the first that the generator draws


# Complaints.


def test_refuses_a_layer_without_a_law() -> None:
    with torch.device("meta"):
        net = nn.ConvTranspose1d(2, 3, 4)
    with pytest.raises(TypeError, match=r"^draw_parameters: no law for ConvTranspose1d$"):
        draw_parameters(net, seeded(0))
