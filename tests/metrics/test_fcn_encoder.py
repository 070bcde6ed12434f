"""FCN encoder: the published network written out, learning, seeds, hashes, and modes."""

import pytest
import torch
from torch import Tensor, nn

from ssltok.metrics import FCNEncoder, encode


def waves(cases: int = 24, length: int = 20, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Slow and fast waves with random phases, far from zero and of large amplitude."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(cases) % 2
    phase = torch.rand(cases, channels, 1, generator=generator) * 6.28
    time = torch.linspace(0, 6.28, length)
    return 50 + 9 * torch.sin((1 + 3 * labels)[:, None, None] * time + phase), labels


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Oracle: Wang et al. 2017 layer by layer, in eval mode.


def test_is_the_published_network() -> None:
    series, labels = waves(channels=2)
    fcn = FCNEncoder.fit(series, labels, steps=3, width=4, generator=seeded(1))
    x = (series - series.mean((0, 2))[:, None]) / series.std((0, 2))[:, None]
    layers = []
    for size_in, size_out, kernel, left in ((2, 4, 8, 3), (4, 8, 5, 2), (8, 4, 3, 1)):
        layers += [
            nn.ConstantPad1d((left, kernel - 1 - left), 0.0),
            nn.Conv1d(size_in, size_out, kernel, bias=False),
            nn.BatchNorm1d(size_out),
            nn.ReLU(),
        ]
    twin = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    state = fcn.network.state_dict()
    for i in range(3):
        twin[4 * i + 1].load_state_dict({"weight": state[f"convolutions.{i}.weight"]})
        norm = {k: state[f"norms.{i}.{k}"] for k in twin[4 * i + 2].state_dict()}
        twin[4 * i + 2].load_state_dict(norm)
    features = fcn(series)
    torch.testing.assert_close(features, twin(x), rtol=1e-4, atol=1e-5)
    logits = features @ state["head.weight"].T + state["head.bias"]
    torch.testing.assert_close(fcn.logits(series), logits, rtol=1e-4, atol=1e-5)


def test_default_sizes_are_the_papers() -> None:
    shapes = [tuple(p.shape) for p in FCNEncoder(1, 2).network.parameters() if p.ndim == 3]
    assert shapes == [(128, 1, 8), (256, 128, 5), (128, 256, 3)]


# Laws.


def test_learns_to_tell_slow_from_fast() -> None:
    series, labels = waves(48)
    fcn = FCNEncoder.fit(series[:24], labels[:24], steps=60, width=8, generator=seeded(0))
    accuracy = (fcn.logits(series[24:]).argmax(1) == labels[24:]).double().mean()
    assert accuracy >= 0.9


def test_units_do_not_matter() -> None:
    series, labels = waves()
    a = FCNEncoder.fit(series, labels, steps=2, width=4, generator=seeded(2))
    b = FCNEncoder.fit(1e-3 * series - 4, labels, steps=2, width=4, generator=seeded(2))
    torch.testing.assert_close(a(series), b(1e-3 * series - 4), rtol=1e-2, atol=1e-2)


def test_one_seed_one_encoder_and_the_hash_tells() -> None:
    series, labels = waves()
    options = {"steps": 2, "width": 4}
    digests = [
        FCNEncoder.fit(series, labels, generator=seeded(s), **options).digest() for s in (5, 5, 6)
    ]
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) == 64


def test_fit_touches_neither_its_data_nor_the_global_random_state() -> None:
    series, labels = waves()
    before, state = series.clone(), torch.get_rng_state()
    FCNEncoder.fit(series, labels, steps=2, width=4, generator=seeded(0))
    assert torch.equal(series, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_stays_frozen_in_train_mode() -> None:
    series, labels = waves()
    fcn = FCNEncoder.fit(series, labels, steps=2, width=4, generator=seeded(0))
    digest, features = fcn.digest(), fcn(series)
    nn.Sequential(fcn).train()
    assert torch.equal(fcn(series), features)
    assert fcn.digest() == digest


def test_features_do_not_depend_on_batches_or_order() -> None:
    series, labels = waves()
    fcn = FCNEncoder.fit(series, labels, steps=2, width=4, generator=seeded(0))
    whole = encode(fcn, series)
    torch.testing.assert_close(encode(fcn, series, batch_size=5), whole)
    torch.testing.assert_close(encode(fcn, series.flip(0)).flip(0), whole)


def test_accepts_double_and_a_constant_channel() -> None:
    series, labels = waves(channels=2)
    series[:, 1] = 7.0
    fcn = FCNEncoder.fit(series.double(), labels, steps=2, width=4, generator=seeded(0))
    assert fcn(series.double()).isfinite().all()


def test_neither_autocast_nor_inference_mode_makes_another_encoder() -> None:
    series, labels = waves()
    options = {"steps": 3, "width": 4}
    fcn = FCNEncoder.fit(series, labels, generator=seeded(0), **options)
    features, logits = fcn(series), fcn.logits(series)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fcn(series), features)
        assert torch.equal(fcn.logits(series), logits)
        again = FCNEncoder.fit(series, labels, generator=seeded(0), **options)
    assert again.digest() == fcn.digest()
    with torch.inference_mode():
        again = FCNEncoder.fit(series.clone(), labels.clone(), generator=seeded(0), **options)
        assert again.digest() == fcn.digest()
    again(series.requires_grad_()).sum().backward()  # its weights are no inference tensors
    assert series.grad is not None


def test_weight_decay_reaches_the_optimizer() -> None:
    """In one step AdamW shrinks a weight by rate * decay of itself, and moves it alike."""
    series, labels = waves()
    start = FCNEncoder(1, 2, width=4, generator=seeded(0)).network.state_dict()
    plain, decayed = (
        FCNEncoder.fit(
            series, labels, steps=1, width=4, learning_rate=0.01, weight_decay=decay,
            generator=seeded(0),
        ).network.state_dict()
        for decay in (0.0, 5.0)
    )  # fmt: skip
    for name in ("convolutions.0.weight", "head.weight"):
        torch.testing.assert_close(plain[name] - decayed[name], 0.05 * start[name])
    default = FCNEncoder.fit(
        series, labels, steps=1, width=4, learning_rate=0.01, generator=seeded(0)
    )
    assert not torch.equal(default.network.head.weight, plain["head.weight"])  # it is 1e-5


# Complaints.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"series": torch.zeros(4, 8)}, r"series must be \(cases, channels, length\); got shape"),
        ({"series": torch.zeros(1, 1, 8)}, r"^FCNEncoder.fit: cases must be >= 2; got 1$"),
        ({"labels": torch.zeros(3).long()}, r"labels must have shape \(4,\), one label a case;"),
        ({"labels": torch.tensor([0, 1, -1, 0])}, r"^FCNEncoder.fit: labels must be >= 0; got -1$"),
        ({"steps": 0}, r"^FCNEncoder.fit: steps must be >= 1; got 0$"),
        ({"batch_size": 1}, r"^FCNEncoder.fit: batch_size must be >= 2; got 1$"),
        ({"width": 0}, r"^FCNEncoder: width must be >= 1; got 0$"),
        ({"learning_rate": 0.0}, r"^FCNEncoder.fit: learning_rate must be > 0; got 0.0$"),
        ({"weight_decay": -1.0}, r"^FCNEncoder.fit: weight_decay must be >= 0; got -1.0$"),
    ],
)
def test_fit_refuses(change: dict[str, object], said: str) -> None:
    arguments = {"series": torch.zeros(4, 1, 8), "labels": torch.tensor([0, 1, 1, 0]), **change}
    with pytest.raises(ValueError, match=said):
        FCNEncoder.fit(**arguments)  # type: ignore[arg-type]


def test_refuses_other_channels() -> None:
    with pytest.raises(ValueError, match=r"^FCNEncoder: series must have 2 channels; got 3$"):
        FCNEncoder(2, 2, width=4)(torch.zeros(1, 3, 8))


def test_a_channel_that_is_constant_in_training_keeps_its_unit() -> None:
    """A little noise beside the constant, in another set, does not drown the features."""
    series, labels = waves(channels=2)
    series[:, 1] = 0.1
    fcn = FCNEncoder.fit(series, labels, steps=2, width=4, generator=seeded(0))
    noisy = series.clone()
    noisy[:, 1] += 1e-3 * torch.randn(noisy[:, 1].shape, generator=seeded(1))
    with torch.no_grad():
        features, beside = fcn(series), fcn(noisy)
    assert (beside - features).abs().max() < 0.05 * features.abs().max()
