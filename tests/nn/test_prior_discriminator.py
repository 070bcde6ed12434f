"""The critic of an adversarial autoencoder."""

import pytest
import torch
from torch import nn

from ssltok.nn import PriorDiscriminator

# Oracle ---------------------------------------------------------------------------------------


def test_it_is_an_mlp_with_relu() -> None:
    torch.manual_seed(0)
    critic = PriorDiscriminator(3, hidden_dim=5).double()
    w1, b1, w2, b2, w3, b3 = critic.parameters()
    x = torch.randn(6, 3, dtype=torch.float64)
    y = ((x @ w1.T + b1).clamp(min=0) @ w2.T + b2).clamp(min=0) @ w3.T + b3
    torch.testing.assert_close(critic(x), y[:, 0])


# Known values ---------------------------------------------------------------------------------


def test_parameters_of_the_paper() -> None:
    """Two hidden layers of 1000."""
    counted = sum(p.numel() for p in PriorDiscriminator(8).parameters())
    assert counted == 8 * 1000 + 1000 + 1000 * 1000 + 1000 + 1000 + 1


# Laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_rows_are_independent_and_all_learn(layers: int) -> None:
    torch.manual_seed(1)
    critic = PriorDiscriminator(5, hidden_dim=8, layers=layers)
    x = torch.randn(9, 5)
    torch.testing.assert_close(critic(x)[2:3], critic(x[2:3]))
    critic(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 1e-6 for p in critic.parameters())
    assert sum(isinstance(m, nn.Linear) for m in critic.modules()) == layers


def test_it_learns_to_tell_a_gaussian_from_another() -> None:
    """The best score is the log-ratio of densities: linear in x for equal variances."""
    torch.manual_seed(2)
    critic = PriorDiscriminator(1, hidden_dim=32)
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
    for _ in range(300):
        real, fake = torch.randn(256, 1) + 1, torch.randn(256, 1) - 1
        scores = critic(torch.cat([real, fake]))
        labels = torch.cat([torch.ones(256), torch.zeros(256)])
        loss = nn.functional.binary_cross_entropy_with_logits(scores, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = torch.linspace(-1.5, 1.5, 7).unsqueeze(1)
    assert (critic(x) - 2 * x[:, 0]).abs().max() < 0.6


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    for name in ("in_dim", "hidden_dim", "layers"):
        with pytest.raises(ValueError, match=rf"PriorDiscriminator: {name} must be >= 1; got 0"):
            PriorDiscriminator(**{"in_dim": 3, name: 0})
    critic = PriorDiscriminator(3, hidden_dim=4)
    with pytest.raises(ValueError, match=r"codes must be \(batch, dim\); got shape \(2, 3, 1\)"):
        critic(torch.randn(2, 3, 1))
    with pytest.raises(ValueError, match=r"codes must have size 3 in dimension 1; got 4"):
        critic(torch.randn(2, 4))
    with pytest.raises(ValueError, match=r"codes must be floating point; got torch.int64"):
        critic(torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"PriorDiscriminator: batch must be >= 1; got 0"):
        critic(torch.randn(0, 3))
