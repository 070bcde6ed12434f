"""Conditions as a context: each token's vector by hand, the null vector, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from ssltok.nn import ConditionEmbedding


def embedding(**options: Any) -> ConditionEmbedding:
    torch.manual_seed(0)
    sizes = {"features": 2, "channels": 3, "length": 11, "grid": (2, 4), **options}
    return ConditionEmbedding(5, **sizes).double()


def inputs(batch: int = 3, length: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    draw = {"generator": generator, "dtype": torch.float64}
    return torch.randn(batch, 2, **draw), torch.randn(batch, 3, length, **draw)  # type: ignore[call-overload]


# oracle


@pytest.mark.parametrize(("length", "grid"), [(11, (2, 4)), (8, (3, 1, 4)), (3, (7,)), (5, (5,))])
def test_each_token_by_hand(length: int, grid: tuple[int, ...]) -> None:
    """Token by token, sample by sample, as the formula says."""
    module = embedding(length=length, grid=grid)
    a, x = inputs(length=length)
    found = module(a, x)
    n, w = grid[-1], -(-length // grid[-1])

    def layers(net: Any, v: torch.Tensor) -> torch.Tensor:
        hidden = functional.gelu(net[0].weight @ v + net[0].bias)
        out: torch.Tensor = net[2].weight @ hidden + net[2].bias
        return out

    assert found.shape == (3, torch.Size(grid).numel(), 5)
    for row in range(3):
        for token in range(found.shape[1]):
            j = token % n
            patch = [float(x[row, c, min(j * length // n + k, length - 1)])
                     for c in range(3) for k in range(w)]  # fmt: skip
            want = layers(module.of_features, a[row]) + layers(
                module.of_channels, torch.tensor(patch, dtype=torch.float64)
            )
            torch.testing.assert_close(found[row, token], want)


def test_one_kind_alone_is_its_share() -> None:
    module, (a, x) = embedding(), inputs()
    only = embedding(channels=0, length=0)
    only.load_state_dict({k: v for k, v in module.state_dict().items() if "channels" not in k})
    other = embedding(features=0)
    other.load_state_dict({k: v for k, v in module.state_dict().items() if "features" not in k})
    torch.testing.assert_close(module(a, x), only(a) + other(None, x))


# laws


def test_what_is_dropped_reaches_nothing() -> None:
    module, (a, x) = embedding(), inputs()
    known = torch.tensor([True, False, True])
    found = module(a, x, known=known)
    torch.testing.assert_close(found[1], module.null.expand(8, 5))
    torch.testing.assert_close(found[[0, 2]], module(a[[0, 2]], x[[0, 2]]))
    a[1], x[1] = torch.nan, torch.inf
    assert torch.equal(module(a, x, known=known), found)
    module(a.nan_to_num(), x.nan_to_num(posinf=1), known=known).square().sum().backward()
    assert module.null.grad is not None
    assert bool(module.null.grad.any())


def test_gradients_are_those_of_finite_differences() -> None:
    module, (a, x) = embedding(length=5), inputs(2, 5)
    known = torch.tensor([True, False])
    assert torch.autograd.gradcheck(
        lambda a, x: module(a, x, known=known), (a.requires_grad_(), x.requires_grad_())
    )


# complaints


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 0, "channels": 0, "length": 0}, "features or channels must be >= 1; got 0"),
        ({"length": 0}, "channels and length must both be 0 or both not; got 3 and 0"),
        ({"channels": 0}, "channels and length must both be 0 or both not; got 0 and 11"),
        ({"features": -1}, "features must be >= 0; got -1"),
        ({"grid": ()}, "axes of grid must be >= 1; got 0"),
        ({"grid": (0, 3)}, "grid must be >= 1; got 0"),
    ],
)
def test_sizes_it_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^ConditionEmbedding: {message}"):
        embedding(**options)


def test_inputs_it_refuses() -> None:
    module, (a, x) = embedding(), inputs()
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: module(None, x), "covariates must be given, 2 of them; got None"),
        (lambda: module(a), "channels must be given, 3 of them; got None"),
        (lambda: module(a[:, :1], x), "covariates must have size 2 in dimension 1; got 1"),
        (lambda: module(a, x[:, :, 1:]), "channels must have size 11 in dimension 2; got 10"),
        (lambda: module(a[:2], x), "covariates and channels must be of as many series; got 2 and"),
        (lambda: module(a, x, known=a), "known must be boolean"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=rf"^ConditionEmbedding: {message}"):
            call()
    with pytest.raises(ValueError, match="channels must have size 0 in dimension 1"):
        embedding(channels=0, length=0)(a, x)
