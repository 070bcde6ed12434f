"""Encoders of patches that are told which values are missing."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok.nn import PatchEncoder1d, TransformerEncoder1d
from ssltok.pipelines import build_described, describe

TRUNK = {"hidden_dim": 12, "depth": 1, "heads": 2}


def build(kind: str, *, gaps: bool) -> Any:
    torch.manual_seed(0)
    if kind == "patch":
        return PatchEncoder1d(2, 6, length=19, patch=4, gaps=gaps).double().eval()
    return TransformerEncoder1d(2, 6, length=19, patch=4, **TRUNK, gaps=gaps).double().eval()


def case() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    series = torch.randn(5, 2, 19, generator=generator, dtype=torch.float64)
    valid = torch.arange(19) < torch.tensor([19, 11, 6, 19, 14])[:, None]
    return series, valid, torch.rand(5, 2, 19, generator=generator) < 0.6


kinds = pytest.mark.parametrize("kind", ["patch", "transformer"])


@kinds
def test_the_option_changes_no_weight_and_no_series_without_gaps(kind: str) -> None:
    plain, told = build(kind, gaps=False), build(kind, gaps=True)
    weights = told.state_dict()
    assert weights.pop("missing").count_nonzero() == 0
    assert weights.keys() == plain.state_dict().keys()
    assert all(torch.equal(weights[k], v) for k, v in plain.state_dict().items())
    series, valid, observed = case()
    assert torch.equal(told(series, valid, observed), plain(series, valid)), "0 at the start"
    nn.init.normal_(told.missing)
    everything = torch.ones_like(observed)
    assert torch.equal(told(series, valid, everything), plain(series, valid))
    assert not torch.equal(told(series, valid, observed), plain(series, valid))


@kinds
def test_what_is_beyond_the_end_is_not_missing(kind: str) -> None:
    told = build(kind, gaps=True)
    nn.init.normal_(told.missing)
    series, valid, observed = case()
    ends = valid[:, None].expand_as(observed)
    assert torch.equal(told(series, valid, observed), told(series, valid, observed & ends))
    assert torch.equal(told(series, valid, ends), told(series, valid))


def test_the_map_is_a_sum_over_the_missing_values_of_a_patch() -> None:
    """Without the network, a place at a time."""
    told = build("patch", gaps=True)
    nn.init.normal_(told.missing)
    series, _, observed = case()
    for part in told.network:
        if isinstance(part, nn.Conv1d):
            for parameter in part.parameters():
                nn.init.zeros_(parameter)
    added = told(series, None, observed) - told(series)
    for row in range(5):
        for frame in range(5):
            total = torch.zeros(6, dtype=torch.float64)
            for channel in range(2):
                for t in range(4):
                    time = 4 * frame + t
                    if time < 19 and not observed[row, channel, time]:
                        total += told.missing[:, channel * 4 + t]
            torch.testing.assert_close(added[row, :, frame], total)


@kinds
def test_it_learns_and_is_described(kind: str) -> None:
    told = build(kind, gaps=True).train()
    series, valid, observed = case()
    told(series, valid, observed).square().sum().backward()
    assert told.missing.grad.count_nonzero() > 0
    again = build_described(describe(told))
    assert again.gaps
    assert again.state_dict().keys() == told.state_dict().keys()


@kinds
def test_complaints(kind: str) -> None:
    series, valid, observed = case()
    who = "PatchEncoder1d" if kind == "patch" else "TransformerEncoder1d"
    with pytest.raises(ValueError, match=rf"^{who}: observed must be None for an encoder without"):
        build(kind, gaps=False)(series, valid, observed)
    with pytest.raises(ValueError, match=rf"^{who}: observed must have shape \(5, 2, 19\)"):
        build(kind, gaps=True)(series, valid, observed[:, :1])
