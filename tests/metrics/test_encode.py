"""Encoding leaves no trace: modes, buffers, gradients and random state are as before."""

import pytest
import torch
from torch import Tensor, nn

from ssltok.metrics import encode, module_digest

SERIES = torch.randn(7, 2, 6, generator=torch.Generator().manual_seed(0))


class Restless(nn.Module):
    """Batch statistics and dropout in train mode, and a random number in either."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm1d(2), nn.Dropout(0.5)

    def forward(self, series: Tensor) -> Tensor:
        torch.rand(3)
        features: Tensor = self.dropout(self.norm(series)).mean(2)
        return features


def test_state_modes_and_random_numbers_are_bit_identical() -> None:
    encoder = Restless().train()
    encoder.norm.eval()
    state = {k: v.clone() for k, v in encoder.state_dict().items()}
    rng = torch.get_rng_state()
    features = encode(encoder, SERIES, batch_size=3)
    assert torch.equal(torch.get_rng_state(), rng)
    assert encoder.training
    assert encoder.dropout.training
    assert not encoder.norm.training
    assert all(torch.equal(v, state[k]) for k, v in encoder.state_dict().items())
    assert not features.requires_grad
    torch.testing.assert_close(features, (SERIES / (1 + 1e-5) ** 0.5).mean(2))


def test_a_method_of_a_module_is_looked_through() -> None:
    encoder = Restless().train()
    state = {k: v.clone() for k, v in encoder.state_dict().items()}
    features = encode(encoder.forward, SERIES)
    torch.testing.assert_close(features, (SERIES / (1 + 1e-5) ** 0.5).mean(2))
    assert all(torch.equal(v, state[k]) for k, v in encoder.state_dict().items())
    assert all(m.training for m in encoder.modules())
    assert not features.requires_grad


def test_modes_come_back_after_an_error() -> None:
    encoder = Restless().train()
    with pytest.raises(RuntimeError, match="running_mean"):
        encode(encoder, SERIES[:, :1])
    assert all(m.training for m in encoder.modules())


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_batches_do_not_matter_and_any_callable_will_do(batch_size: int) -> None:
    features = encode(lambda series: series.amax(2), SERIES, batch_size=batch_size)
    assert torch.equal(features, SERIES.amax(2))


class Mixed(nn.Module):
    """A state of every kind: several types, no dimension, no element, and no tensor."""

    def __init__(self, said: str = "a") -> None:
        super().__init__()
        self.said = said
        for kind in (torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool):
            self.register_buffer(f"a_{str(kind)[6:]}", torch.ones(2, 3).to(kind))
        self.register_buffer("scalar", torch.tensor(2.0, dtype=torch.bfloat16))
        self.register_buffer("empty", torch.zeros(0, 4))
        self.register_buffer("turned", torch.arange(6.0).view(2, 3).mT)

    def get_extra_state(self) -> dict[str, str]:
        return {"said": self.said}

    def set_extra_state(self, state: dict[str, str]) -> None:
        self.said = state["said"]


def test_the_digest_sees_every_entry_of_a_state() -> None:
    digest = module_digest(Mixed())
    assert digest == module_digest(Mixed())
    assert digest != module_digest(Mixed("b"))
    for name, tensor in Mixed().state_dict().items():
        changed = Mixed()
        if isinstance(tensor, Tensor) and tensor.numel():
            entry = changed.state_dict()[name]
            entry.fill_(0)
            assert module_digest(changed) != digest, name
    layer, twin = nn.Linear(2, 2), nn.Linear(2, 2)
    twin.load_state_dict(layer.state_dict())
    assert module_digest(layer) == module_digest(twin)
    assert module_digest(layer.bfloat16()) != module_digest(twin)


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"^encode: the encoder must return one row a case; got 1"):
        encode(lambda series: series[:1], SERIES)
    with pytest.raises(ValueError, match=r"^encode: cases must be >= 1; got 0$"):
        encode(lambda series: series, SERIES[:0])
    with pytest.raises(ValueError, match=r"^encode: batch_size must be >= 1; got 0$"):
        encode(lambda series: series, SERIES, batch_size=0)
    with pytest.raises(ValueError, match=r"series must be \(cases, channels, length\); got shape"):
        encode(lambda series: series, SERIES[0])
