"""Every fast form beside its plain one: equal value, gradient and second gradient.

A file `_x_fast.py` holds functions of the names and signatures of `_x.py`. The pairs are found by
the names of the files; a case says how to draw inputs, which of them get a gradient, and which
switches of `_shared/sizes.py` the fast form looks at. Each switch is tried on both sides. Features
have unequal scales, from 1e-3 to 1e3, where a product of them is taken.
"""

import importlib
import inspect
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import ssltok
from ssltok._shared import sizes
from ssltok.metrics import gaussian_kernel

SOURCE = pathlib.Path(ssltok.__file__).parent
PACKAGES = ("augment", "decoding", "distributed", "losses", "masking", "metrics", "optim", "state")
BOTH = (0, 2**40)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def uneven(generator: torch.Generator, *shape: int) -> Tensor:
    """Features of unequal scales, correlated, off centre."""
    z = normal(generator, *shape)
    z = z + 0.5 * z.roll(1, -1) + 0.3
    return z * torch.logspace(-3, 3, shape[-1], dtype=torch.float64)


def directions(generator: torch.Generator, *shape: int) -> Tensor:
    z = normal(generator, *shape) * torch.logspace(-1, 1, shape[-1], dtype=torch.float64)
    return z / z.square().sum(-1, keepdim=True).sqrt()


def probabilities(generator: torch.Generator, *shape: int) -> Tensor:
    return (3 * normal(generator, *shape)).softmax(-1)


Draw = Callable[[torch.Generator], tuple[Any, ...]]
NONE: Mapping[str, Any] = {}


class Case(NamedTuple):
    draw: Draw
    options: Mapping[str, Any] = NONE
    leaves: tuple[int, ...] = (0,)  # inputs that get a gradient; none where none is promised
    switches: Mapping[str, tuple[int, ...]] = NONE


def of(*parts: tuple[Callable[..., Tensor], tuple[int, ...]], scale: float = 1.0) -> Draw:
    """Draw tensors of shapes; the first is scaled."""

    def draw(generator: torch.Generator) -> tuple[Any, ...]:
        first, *others = (law(generator, *shape) for law, shape in parts)
        return (scale * first, *others)

    return draw


def of_weights(codes: int) -> Draw:
    return lambda generator: (probabilities(generator, 200, codes), generator)


SHAPES = [(4, 7), (7, 4), (6, 7), (1, 5), (9, 1)]
PRODUCTS = {"PRODUCT_ROWS": BOTH, "FEW_NUMBERS": BOTH}
PIECES = {"CACHED_NUMBERS": (0, 24, 2**40)}
VIEWS: list[tuple[tuple[int, ...], Mapping[str, Any]]] = [
    ((6, 5), {"views": 2}),
    ((6, 2), {"views": 3, "scale": 2.5}),
    ((2, 3, 8, 5), {"views": 2, "scale": 0.3}),
]
CASES: dict[str, list[Case]] = {
    "losses.product_sums": [
        Case(of((uneven, s), (uneven, s)), {}, (0, 1), PRODUCTS) for s in SHAPES
    ],
    "losses.self_product_sums": [
        Case(of((uneven, s)), {}, (0,), PRODUCTS) for s in SHAPES
    ],
    "losses.contrast": [
        Case(of((normal, s), scale=3), options, (0,), PRODUCTS)
        for s, options in VIEWS
    ],
    "losses.gram": [Case(of((uneven, s)), {}, (), PRODUCTS) for s in SHAPES],
    "losses.unit_rows": [
        Case(lambda g: (uneven(g, 5, 4),), {}, (0,), PRODUCTS),
        Case(lambda g: (normal(g, 2, 5, 4),), {"eps": 1.8}, (0,), PRODUCTS),  # some are shorter
    ],
    "losses.nearest_distances": [
        Case(lambda g: (directions(g, 9, 4),), {"eps": eps}, (0,), PRODUCTS) for eps in (1e-8, 0.1)
    ],
    "losses.log_sum_over_keys": [
        Case(
            of((directions, (3, 4)), (uneven, (s, 4))),
            {"temperature": temperature},
            (0,),
            {"FEW_SIMILARITIES": BOTH, "CACHED_SIMILARITIES": (1, 66, 2**40)},
        )
        for s, temperature in [(53, 0.1), (1, 0.3), (32, 0.3)]
    ],
    "losses.slice_errors": [
        Case(lambda g: (1.5 * uneven(g, 6, 5),), {"points": points, "limit": limit})
        for points, limit in [(2, 1.0), (9, 2.0)]
    ]
    + [Case(lambda g: (1.5 * normal(g, 6, 5),), {"points": 17, "limit": 3.0})],
    "losses.soft_cross_entropy": [
        Case(
            lambda g: (2 * normal(g, 5, 6), 2 * probabilities(g, 5, 6)),
            {"temperature": 0.4},
            switches=PIECES,
        ),
        Case(lambda g: (2 * normal(g, 6), probabilities(g, 6)), switches=PIECES),
        Case(
            lambda g: (3 * normal(g, 3, 4, 6), probabilities(g, 3, 4, 6)),
            {"temperature": 1.7},
            switches=PIECES,
        ),
    ],
    "losses.cross_view_entropy": [
        Case(
            of((normal, (s, 4, 6)), (probabilities, (t, 4, 6)), scale=2),
            {"temperature": 0.4},
            switches=PIECES,
        )
        for s, t in [(2, 1), (2, 2), (5, 1), (5, 2), (4, 3), (3, 3)]
    ],
    "decoding.invert": [
        Case(
            of_weights(codes),
            leaves=(),
            switches={"CODES_A_BLOCK": (2, 4, 2**40)},
        )
        for codes in (5, 16, 64, 100)
    ],
    "metrics.squared_distances": [
        Case(lambda g: (uneven(g, 6, 4), uneven(g, 5, 4)), {}, (0, 1)),
        Case(lambda g: (normal(g, 1, 3) + 1e3, normal(g, 7, 3) + 1e3), {}, (0, 1)),
    ],
    "metrics.warping_cost": [
        Case(
            of((normal, (rows, channels, 3)), (normal, (columns, channels, 4)), scale=9),
            {"band": band},
            (),
        )
        for (rows, columns, channels), band in [
            ((6, 6, 2), 6), ((6, 6, 2), 0), ((6, 6, 1), 2), ((7, 4, 3), 3), ((4, 7, 3), 4),
            ((1, 1, 1), 1), ((1, 5, 2), 5),
        ]
    ],
    "metrics.mean_kernel": [
        Case(
            lambda g: (lambda a, b: gaussian_kernel(a, b, bandwidth=900.0), uneven(g, 9, 4)),
            {},
            (1,),
            {"ROWS": (1, 4, 2**40)},
        )
    ],
    "metrics.mean_cosine": [
        Case(lambda g: (directions(g, 9, 4),), switches={"ROWS": (1, 4, 2**40)})
    ],
    "metrics.log_mean_potential": [
        Case(lambda g: (directions(g, 9, 4),), {"sharpness": 3.0}, (), {"ROWS": (1, 4, 2**40)})
    ],
    "metrics.nearest_other": [
        Case(
            lambda g: (torch.cdist, uneven(g, 9, 4)),
            {"neighbors": neighbors},
            (),
            {"ROWS": (1, 4, 2**40)},
        )
        for neighbors in (1, 3)
    ],
}  # fmt: skip


def pairs() -> dict[str, tuple[Callable[..., Any], Callable[..., Any]]]:
    """The fast and the plain function of every name in the files `_*_fast.py`."""
    found = {}
    for package in PACKAGES:
        for path in sorted((SOURCE / package).glob("_*_fast.py")):
            fast = importlib.import_module(f"ssltok.{package}.{path.stem}")
            plain = importlib.import_module(f"ssltok.{package}.{path.stem.removesuffix('_fast')}")
            for name in fast.__all__:
                found[f"{package}.{name}"] = (getattr(fast, name), getattr(plain, name))
    return found


PAIRS = pairs()
EVERY = [
    pytest.param(name, case, id=f"{name}-{index}")
    for name, cases in CASES.items()
    for index, case in enumerate(cases)
]


def sides(case: Case) -> Iterator[dict[str, int]]:
    """Every combination of the case's switches."""
    for values in itertools.product(*case.switches.values()):
        yield dict(zip(case.switches, values, strict=True))


def outputs(function: Callable[..., Any], inputs: tuple[Any, ...], case: Case) -> list[Tensor]:
    result = function(*inputs, **case.options)
    return list(result) if isinstance(result, tuple) else [result]


def derivatives(function: Callable[..., Any], case: Case, seed: int) -> dict[str, list[Tensor]]:
    """Values, gradients and second gradients along random directions, of all that get one.

    Gradients with and without a graph of their own: a fast form may keep what it needs for the
    one and has to compute it anew for the other.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = case.draw(generator)
    if not case.leaves:
        with torch.no_grad():
            return {"value": outputs(function, inputs, case)}
    leaves = [inputs[place].requires_grad_() for place in case.leaves]
    values = outputs(function, inputs, case)
    along = [normal(generator, *value.shape) for value in values]
    slopes = torch.autograd.grad(values, leaves, along, retain_graph=True)
    gradients = torch.autograd.grad(values, leaves, along, create_graph=True)
    results = {"value": values, "slope": list(slopes), "slope with a graph": list(gradients)}
    # relative to the leaves, so that features of large and of small values count alike
    steps = [normal(generator, *leaf.shape) * leaf.detach() for leaf in leaves]
    total = sum((g * s).sum() for g, s in zip(gradients, steps, strict=True))
    assert isinstance(total, Tensor)
    if total.requires_grad:
        seconds = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
        results["second slope"] = list(seconds)
    return results


def assert_near(fast: list[Tensor], plain: list[Tensor], what: str) -> None:
    """Equal to 1e-9 of the largest number in the same column: no feature hides behind another."""
    assert len(fast) == len(plain), what
    for one, other in zip(fast, plain, strict=True):
        assert one.shape == other.shape, what
        assert one.dtype == other.dtype, what
        if not one.is_floating_point():
            assert torch.equal(one, other), what
            continue
        size = other.detach().abs()
        largest = size if size.ndim < 2 else size.flatten(0, -2).amax(0)
        error = (one.detach() - other.detach()).abs()
        assert one.isfinite().all(), what
        assert (error <= 1e-9 * largest + 1e-300).all(), (what, float((error / largest).max()))


def test_every_fast_form_has_a_case() -> None:
    assert set(PAIRS) == set(CASES)
    used = {switch for cases in CASES.values() for case in cases for switch in case.switches}
    others = {"BLOCKS", "DISTANCES", "MANY_SIMILARITIES"}  # no switch between two forms
    assert used | others == set(sizes.__all__)


@pytest.mark.parametrize("name", PAIRS)
def test_a_fast_form_has_the_signature_of_its_plain_one(name: str) -> None:
    fast, plain = PAIRS[name]
    assert fast is not plain
    assert fast.__name__ == plain.__name__
    assert inspect.signature(fast) == inspect.signature(plain)


@pytest.mark.parametrize(("name", "case"), EVERY)
def test_fast_and_plain_are_equal(name: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, plain = PAIRS[name]
    for seed in (0, 1):
        expected = derivatives(plain, case, seed)
        for side in sides(case):
            for switch, value in side.items():
                monkeypatch.setattr(sizes, switch, value)
            got = derivatives(fast, case, seed)
            assert got.keys() == expected.keys()
            for kind, numbers in got.items():
                assert_near(numbers, expected[kind], f"{kind} at {side}")


@pytest.mark.parametrize("name", CASES)
def test_every_switch_is_looked_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At real sizes both sides of the switches are taken, or the test above tests one form twice.

    A fast form that is the plain one at every setting of its switches calls the plain function.
    """
    fast, _ = PAIRS[name]
    plain = importlib.import_module(fast.__module__.removesuffix("_fast"))
    calls = []
    function = getattr(plain, fast.__name__)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return function(*args, **kwargs)

    monkeypatch.setattr(plain, fast.__name__, counted)
    total = 0
    for case in CASES[name]:
        for side in sides(case):
            for switch, value in side.items():
                monkeypatch.setattr(sizes, switch, value)
            with torch.no_grad():
                outputs(fast, case.draw(torch.Generator().manual_seed(0)), case)
            total += 1
    assert len(calls) < total
