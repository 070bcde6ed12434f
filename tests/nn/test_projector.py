"""The projector and the predictor: the published MLPs."""

import pytest
import torch
from torch import nn

from ssltok.nn import Predictor, Projector

# Oracle ---------------------------------------------------------------------------------------


def test_it_is_the_published_mlp() -> None:
    torch.manual_seed(0)
    projector = Projector(3, hidden_dim=7, out_dim=5, layers=3).double()
    for parameter in projector.parameters():
        nn.init.normal_(parameter)
    first, scale_1, shift_1, second, scale_2, shift_2, last, bias = projector.parameters()
    x = torch.randn(6, 3, dtype=torch.float64)
    y = x @ first.T
    y = (y - y.mean(0)) / (y.var(0, correction=0) + 1e-5).sqrt() * scale_1 + shift_1
    y = y.clamp(min=0) @ second.T
    y = (y - y.mean(0)) / (y.var(0, correction=0) + 1e-5).sqrt() * scale_2 + shift_2
    torch.testing.assert_close(projector(x), y.clamp(min=0) @ last.T + bias)


def test_the_predictor_is_byol_and_simsiam_s_mlp() -> None:
    torch.manual_seed(0)
    predictor = Predictor(3, hidden_dim=7).double()
    for parameter in predictor.parameters():
        nn.init.normal_(parameter)
    first, scale, shift, last, bias = predictor.parameters()
    x = torch.randn(6, 3, dtype=torch.float64)
    y = x @ first.T
    y = (y - y.mean(0)) / (y.var(0, correction=0) + 1e-5).sqrt() * scale + shift
    torch.testing.assert_close(predictor(x), y.clamp(min=0) @ last.T + bias)


# Known values ---------------------------------------------------------------------------------


def test_parameters_of_simsiam() -> None:
    """2048-512-2048 without a bias in front of BatchNorm, with one at the end."""
    with torch.device("meta"):
        counted = sum(p.numel() for p in Predictor(2048, hidden_dim=512).parameters())
    assert counted == 2048 * 512 + 2 * 512 + 512 * 2048 + 2048


def test_parameters_of_nc_vqvae() -> None:
    """128-4096-4096-4096: three products, two BatchNorms, one bias: about 34 M."""
    with torch.device("meta"):
        projector = Projector(128, hidden_dim=4096, out_dim=4096)
    counted = sum(p.numel() for p in projector.parameters())
    assert counted == 128 * 4096 + 2 * 4096 * 4096 + 2 * 2 * 4096 + 4096


def test_one_layer_is_a_linear_map() -> None:
    projector = Projector(3, hidden_dim=9, out_dim=2, layers=1)
    x, y = torch.randn(2, 4, 3)
    torch.testing.assert_close(projector(x + y), projector(x) + projector(y) - projector(0 * x))


# Laws -----------------------------------------------------------------------------------------


def test_whiten_is_applied_last_and_takes_the_bias() -> None:
    projector = Projector(3, hidden_dim=4, out_dim=6, whiten=nn.BatchNorm1d(6, affine=False))
    assert not [name for name, _ in projector.named_parameters() if name == "layers.6.bias"]
    out = projector(torch.randn(50, 3))
    torch.testing.assert_close(out.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(6), atol=1e-3, rtol=0)


def test_the_predictor_may_end_in_a_norm() -> None:
    """The last layer of MoCo v3's predictor."""
    predictor = Predictor(5, hidden_dim=4, layers=3, whiten=nn.BatchNorm1d(5, affine=False))
    out = predictor(torch.randn(50, 5))
    assert sum(isinstance(m, nn.Linear) for m in predictor.modules()) == 3
    torch.testing.assert_close(out.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    assert predictor.mlp[-1].bias is None


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_gradients_reach_all_and_rows_are_independent_in_eval(layers: int) -> None:
    torch.manual_seed(1)
    projector = Projector(5, hidden_dim=8, out_dim=6, layers=layers)
    out = projector(torch.randn(9, 5))
    (out * torch.randn_like(out)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 1e-4 for p in projector.parameters())
    assert sum(isinstance(m, nn.Linear) for m in projector.modules()) == layers
    projector.eval()
    x = torch.randn(4, 5)
    torch.testing.assert_close(projector(x)[2:3], projector(x[2:3]))


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"Projector: layers must be >= 1; got 0"):
        Projector(3, hidden_dim=4, out_dim=2, layers=0)
    projector = Projector(3, hidden_dim=4, out_dim=2)
    with pytest.raises(ValueError, match=r"Projector: features must be \(batch, dim\); got shape"):
        projector(torch.randn(2, 3, 4))
    with pytest.raises(ValueError, match=r"features must have size 3 in dimension 1; got 4"):
        projector(torch.randn(2, 4))
    with pytest.raises(ValueError, match=r"features must be floating point; got torch.int64"):
        projector(torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"Projector: batch must be >= 2; got 1"):
        projector(torch.randn(1, 3))
    assert projector.eval()(torch.randn(1, 3)).shape == (1, 2)
    with pytest.raises(ValueError, match=r"Predictor: hidden_dim must be >= 1; got 0"):
        Predictor(3, hidden_dim=0)
    with pytest.raises(ValueError, match=r"Predictor: features must have size 3 in dimension 1"):
        Predictor(3, hidden_dim=2)(torch.randn(2, 4))
