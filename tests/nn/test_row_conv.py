"""Convolutions of one row equal torch's own, which multiply by the padding."""

from typing import Literal

import pytest
import torch
from torch import nn

from ssltok.nn._row_conv import RowConv2d, RowConvTranspose2d


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("mode", ["zeros", "replicate"])
@pytest.mark.parametrize("columns", [3, 4])
def test_equals_torch(rows: int, mode: Literal["zeros", "replicate"], columns: int) -> None:
    torch.manual_seed(0)
    kernel, stride = (3, columns), (1, columns - 2)
    own = RowConv2d(5, 3, kernel, stride, padding=(1, 1), padding_mode=mode).double()
    other = nn.Conv2d(5, 3, kernel, stride, padding=(1, 1), padding_mode=mode).double()
    other.load_state_dict(own.state_dict())
    check(own, other, torch.randn(2, 5, rows, 9, dtype=torch.double))


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("odd", [0, 1])
def test_transposed_equals_torch(rows: int, odd: int) -> None:
    torch.manual_seed(0)
    own, other = (
        kind(5, 3, (3, 4), (1, 2), padding=(1, 1), output_padding=(0, odd)).double()
        for kind in (RowConvTranspose2d, nn.ConvTranspose2d)
    )
    other.load_state_dict(own.state_dict())
    check(own, other, torch.randn(2, 5, rows, 6, dtype=torch.double))


def test_transposed_obeys_an_output_size() -> None:
    own = RowConvTranspose2d(2, 2, (3, 4), (1, 2), padding=(1, 1))
    assert own(torch.randn(1, 2, 1, 6), [1, 13]).shape == (1, 2, 1, 13)


def check(own: nn.Module, other: nn.Module, maps: torch.Tensor) -> None:
    results = []
    for module in (own, other):
        x = maps.clone().requires_grad_()
        made = module(x)
        made.square().sum().backward()
        results.append([made.detach(), x.grad, *[p.grad for p in module.parameters()]])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
