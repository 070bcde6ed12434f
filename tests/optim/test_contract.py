"""Every optimizer of the package: draws no random number, waits for no value, keeps dtypes."""

import pytest
import torch
from torch import nn

import ssltok.optim
from ssltok.optim import LARS

OPTIMIZERS = [
    getattr(ssltok.optim, name)
    for name in ssltok.optim.__all__
    if isinstance(getattr(ssltok.optim, name), type)
]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step(kind: type[LARS]) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    optimizer = kind(model.parameters(), lr=0.5, weight_decay=0.1)
    before = [p.detach().clone() for p in model.parameters()]
    model(torch.randn(5, 4)).square().sum().backward()
    state = torch.get_rng_state()
    optimizer.step()
    optimizer.step()
    assert torch.equal(state, torch.get_rng_state())
    for old, new in zip(before, model.parameters(), strict=True):
        assert new.dtype == old.dtype
        assert torch.isfinite(new).all()
        assert not torch.equal(old, new)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("clip", [False, True])
def test_no_value_is_read_on_the_host(kind: type[LARS], clip: bool) -> None:
    """Tensors of the meta device have no values: whoever asks for one gets an error."""
    params = [nn.Parameter(torch.ones(2, 3, device="meta")) for _ in range(3)]
    for p in params:
        p.grad = torch.ones_like(p)
    kind(params, lr=0.5, weight_decay=0.1, clip=clip).step()
    with pytest.raises(RuntimeError):
        bool(params[0].sum() > 0)
