"""What every public module of `ssltok.signal` promises: its options can be read back."""

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ssltok.signal
from ssltok.signal import (
    ISTFT,
    STFT,
    ChannelScaler,
    GaussianFill,
    GlobalScaler,
    LineFill,
    PatchTexture,
    RevIN,
    SeriesScaler,
    STFTBands,
    Waveform,
)
from tests.nn.option_law import assert_options_are_read_back, options_with_default

Case = tuple[Callable[[], nn.Module], Callable[[Any], Tensor]]


def series() -> Tensor:
    return 3 + torch.randn(4, 2, 21)


def holes() -> Tensor:
    return torch.arange(21).expand(4, 2, 21) % 5 == 3


CODES = torch.randint(0, 3, (5, 4, 2), generator=torch.Generator().manual_seed(0))
CASES: dict[str, Case] = {
    "ChannelScaler": (lambda: ChannelScaler().fit(series()), lambda part: part(series())),
    "GaussianFill": (
        lambda: GaussianFill(2, 21).fit(series(), holes=holes()),
        lambda part: part(series(), ~holes()),
    ),
    "GlobalScaler": (lambda: GlobalScaler().fit(series()), lambda part: part(series())),
    "ISTFT": (
        lambda: ISTFT(n_fft=8, hop=4, band=(1, 3)),
        lambda part: part(torch.randn(4, 2, 2, 6), 21),
    ),
    "LineFill": (LineFill, lambda part: part(series(), ~holes())),
    "PatchTexture": (
        lambda: PatchTexture(5, 4, 3, codes=2).fit(CODES, torch.randn(5, 4, 3)),
        lambda part: part(CODES.flip(0)),
    ),
    "RevIN": (lambda: RevIN(2, affine=False, eps=0.1), lambda part: part(series()).values),
    "STFT": (lambda: STFT(n_fft=8, hop=4), lambda part: part(series())),
    "STFTBands": (
        lambda: STFTBands(21, n_fft=4, hop=2, edges=(1, 2)),
        lambda part: part(series())[2],
    ),
    "SeriesScaler": (SeriesScaler, lambda part: part(series()).values),
    "Waveform": (lambda: Waveform(21), lambda part: part(series())[0]),
}


def test_every_module_is_here() -> None:
    things = {name: getattr(ssltok.signal, name) for name in ssltok.signal.__all__}
    modules = {n for n, t in things.items() if inspect.isclass(t) and issubclass(t, nn.Module)}
    assert modules == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_options_are_read_back(name: str) -> None:
    build, call = CASES[name]
    torch.manual_seed(0)
    part = build()
    torch.manual_seed(0)
    if isinstance(part, ChannelScaler | GlobalScaler):  # sizes of the statistics come with them
        twin = type(part)()
        twin.load_state_dict(part.state_dict())
        assert torch.equal(call(twin), (torch.manual_seed(0), call(part))[1])
        return
    assert assert_options_are_read_back(build, call) >= options_with_default(part)


@pytest.mark.parametrize("name", CASES)
def test_a_pickle_and_a_copy_are_the_module(name: str) -> None:
    build, call = CASES[name]
    torch.manual_seed(0)
    part = build()
    for twin in (pickle.loads(pickle.dumps(part)), copy.deepcopy(part)):
        assert list(twin.state_dict()) == list(part.state_dict())
        torch.manual_seed(1)
        expected = call(part)
        torch.manual_seed(1)
        assert torch.equal(call(twin), expected)
