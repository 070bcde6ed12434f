"""Each fast form is its plain form, in value and gradient, at unequal scales of the features."""

import importlib
import inspect
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import ssltok.quantizers as package

PAIRS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {}
for path in sorted(pathlib.Path(str(package.__file__)).parent.glob("_*_fast.py")):
    fast = importlib.import_module(f"ssltok.quantizers.{path.stem}")
    plain = importlib.import_module(f"ssltok.quantizers.{path.stem.removesuffix('_fast')}")
    for item in fast.__all__:
        if item.endswith("_fast"):
            name = item.removesuffix("_fast")
            PAIRS[name] = getattr(plain, f"{name}_plain"), getattr(fast, item)


class Case(NamedTuple):
    """Tensors that want a gradient, and what the function is called with, made of them."""

    leaves: list[Tensor]
    call: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]


def normal(*shape: int, seed: int, spread: bool = True) -> Tensor:
    """Skewed, and with features of scales from 0.1 to 10."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scales = torch.logspace(-1, 1, shape[-1], dtype=torch.float64)
    return (x.exp() - 0.7) * scales if spread else x


REAL = torch.arange(40) % 3 > 0
CODES = torch.arange(40) ** 2


def pull(size: int, real: Tensor | None, *, learn: bool = True, tokens: int = 40) -> Case:
    codes, weights = CODES[:tokens] % size, {"commitment_weight": 0.3, "codebook_weight": 0.8}

    def call(x: Tensor, e: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        more = {"codebook": e, "codes": codes, **weights} if learn else {"commitment_weight": 0.3}
        return (x, e[codes], real), more

    return Case([normal(tokens, 5, seed=1), normal(size, 5, seed=2)], call)


def entropies(bits: int, real: Tensor | None, *, over_ranks: bool = False) -> Case:
    options = {"scale": 1.7, "group_bits": 4, "over_ranks": over_ranks}
    return Case([normal(40, bits, seed=1) / 3], lambda x: ((x, real), options))


CASES: dict[str, list[Case]] = {
    "unit_rows": [
        Case([normal(40, 5, seed=1)], lambda x: ((x,), {})),
        Case([torch.cat([normal(700, 300, seed=1), torch.full((1, 300), 1e-15)])],
             lambda x: ((x,), {})),
    ],
    "pull_together": [
        pull(7, None), pull(7, REAL), pull(30, REAL), pull(30, None), pull(7, REAL, learn=False),
        pull(30, torch.zeros(40, dtype=torch.bool)), pull(7, None, tokens=1),
        pull(1, REAL[:1], tokens=1),
    ],
    "nearest_codes": [
        Case([normal(40, 5, seed=1), normal(size, 5, seed=2)], lambda x, e: ((x, e), {}))
        for size in (1, 7, 200)
    ],
    "straight_through": [
        Case([normal(40, 5, seed=1), normal(40, 5, seed=2)], lambda x, q: ((x, q), {}))
    ],
    "rotation_trick": [
        Case([normal(8, 5, 3, seed=1), normal(8, 5, 3, seed=2)], lambda x, q: ((x, q), {})),
        Case([normal(4, 5, seed=1) * torch.tensor([[1.0], [0.0], [1.0], [1.0]]),
              normal(4, 5, seed=2) * torch.tensor([[1.0], [1.0], [0.0], [1.0]])],
             lambda x, q: ((torch.cat([x, x]), torch.cat([q, -x.detach()])), {})),
    ],
    "bit_entropies": [
        entropies(3, None), entropies(4, REAL), entropies(9, None), entropies(9, REAL),
        entropies(5, REAL, over_ranks=True), entropies(3, torch.zeros(40, dtype=torch.bool)),
    ],
    "codebook_entropy": [
        Case([normal(40, 5, seed=1), normal(7, 5, seed=2)],
             lambda x, e, real=real: (
                 (x, e, real), {"temperature": 3.0, "diversity_weight": 0.7}))
        for real in (None, REAL, torch.zeros(40, dtype=torch.bool))
    ],
    "orthogonality": [
        Case([normal(*shape, seed=1)], lambda e: ((e,), {}))
        for shape in ((4, 7), (10, 5), (11, 5), (60, 5))
    ],
    "sample_codes": [  # equal draws, as far as one piece reaches
        Case([normal(40, 5, seed=1), normal(size, 5, seed=2)],
             lambda x, e, temperature=temperature: ((x, e), {
                 "temperature": temperature, "generator": torch.Generator().manual_seed(3)}))
        for size, temperature in ((1, 2.0), (7, 0.5), (200, 30.0))
    ],
    "round_to_levels": [
        Case([normal(40, 4, seed=1)],
             lambda z: ((z, torch.tensor([3, 8, 5, 12]), z.dtype), {})),
    ],
}  # fmt: skip


def test_every_pair_has_a_case() -> None:
    assert PAIRS.keys() == CASES.keys()


@pytest.mark.parametrize("name", PAIRS)
def test_both_forms_are_called_alike(name: str) -> None:
    """The fast one may take more, by keyword, that it can do without."""
    plain, fast = (list(inspect.signature(form).parameters.values()) for form in PAIRS[name])
    assert fast[: len(plain)] == plain
    for more in fast[len(plain) :]:
        assert more.kind is inspect.Parameter.KEYWORD_ONLY
        assert more.default is None


def values_and_gradients(form: Callable[..., Any], case: Case, dtype: torch.dtype) -> list[Any]:
    leaves = [leaf.to(dtype).requires_grad_() for leaf in case.leaves]
    positional, options = case.call(*leaves)
    results = form(*positional, **options)
    results = [results] if isinstance(results, Tensor) else list(results)
    smooth = [result for result in results if result.requires_grad]
    if not smooth:
        return results
    weights = [torch.arange(1, r.numel() + 1).reshape(r.shape).to(r.dtype).cos() for r in smooth]
    scalar = torch.stack([(r * w).sum() for r, w in zip(smooth, weights, strict=True)]).sum()
    return results + list(torch.autograd.grad(scalar, leaves, allow_unused=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("name", "i"), [(name, i) for name in CASES for i in range(len(CASES[name]))]
)
def test_the_fast_form_is_the_plain_one(
    name: str, i: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces of a few rows as well as in one."""
    expected, got = (values_and_gradients(form, CASES[name][i], dtype) for form in PAIRS[name])
    for constant in ("ENTROPY_SCORES", "OUTER_NUMBERS", "UNIT_NUMBERS"):
        monkeypatch.setattr(f"ssltok.quantizers._tuning.{constant}", 60)
    pieces = values_and_gradients(PAIRS[name][1], CASES[name][i], dtype)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    for result in (got, pieces):
        assert len(result) == len(expected)
        for one, other in zip(result, expected, strict=True):
            if other is None:
                assert one is None or (one == 0).all()
                continue
            assert one.dtype == other.dtype
            size = float(other.detach().abs().max()) if other.numel() else 1.0
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * max(size, 1e-9))
