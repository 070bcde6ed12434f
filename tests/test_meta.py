"""The law of the meta device: built without values, emptied and loaded, every module is its equal.

What a `state_dict` does not hold must come back by itself, and a state of other options is refused.
"""

import copy
import importlib
import io
import itertools
import math
import pkgutil
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

import ssltok
from ssltok._shared.derived import OPTIONS, DerivedBuffers
from ssltok.evaluation import TS2VecEncoder
from ssltok.metrics import FCNEncoder, RocketEncoder
from ssltok.nn import (
    CausalTokenTransformer,
    RotaryPositions,
    TokenEmbedding,
    Transformer,
    average_max_pool,
)
from ssltok.pipelines import (
    CausalPrior,
    TokenFeatures,
    Tokenizer,
    TokenizerEncoder,
    build_prior,
    build_tokenizer,
)
from ssltok.quantizers import BSQ, FSQ, LFQ, GroupedQuantizer, ProjectedQuantizer, ResidualQuantizer
from ssltok.signal import ISTFT, STFT, STFTBands
from tests.nn.option_cases import CODES
from tests.pipelines.covering import in_turn
from tests.pipelines.small import small
from tests.pipelines.test_describe_all import BUILDERS, CALLS, modules_of
from tests.state.test_contract import OPTIONS as STATE
from tests.training.objective_cases import CASES as OBJECTIVES
from tests.training.objective_cases import built

ALL: dict[str, Callable[[], nn.Module]] = dict(BUILDERS)
for kind in sorted(modules_of("losses")):
    ALL[f"losses {kind}"] = getattr(importlib.import_module("ssltok.losses"), kind)
for kind, options in STATE.items():
    ALL[f"state {kind}"] = partial(getattr(ssltok.state, kind), **options)


def objective(name: str) -> nn.Module:
    return built(name)[1].float()


ALL |= {f"training {name}": partial(objective, name) for name in OBJECTIVES}


def tokenizer() -> Tokenizer:
    return build_tokenizer(small(quantizer="fsq", ssl="vicreg").tokenizer, channels=2, length=33)


ALL |= {
    "evaluation TS2VecEncoder": lambda: TS2VecEncoder(2, dim=6, hidden_dim=4, depth=2),
    "metrics FCNEncoder": lambda: FCNEncoder(2, 3, width=4),
    "metrics RocketEncoder": lambda: RocketEncoder(2, 20, kernels=7),
    "pipelines Tokenizer": tokenizer,
    "pipelines Branch": lambda: tokenizer().branches[0],
    "pipelines Prior": lambda: build_prior(small().prior, tokenizer(), classes=3),
    "pipelines ConditionedPrior": lambda: build_prior(
        small().prior, tokenizer(), classes=3, conditions=(2, 1)
    ),
    "pipelines CausalPrior": lambda: CausalPrior(
        CausalTokenTransformer(
            TokenEmbedding(6, 8), Transformer(8, depth=1, heads=2, causal=True),
            tokens=4, classes=3,
        ),
        sizes=(4,), classes=3, codebook_sizes=((6,),), order=[1, 0, 3, 2],
    ),
    "pipelines TokenFeatures": lambda: TokenFeatures(tokenizer(), pool=average_max_pool),
    "pipelines TokenizerEncoder": lambda: TokenizerEncoder(tokenizer()),
}  # fmt: skip
PROTOCOLS = {"PriorModel", "TokenizerModel"}


class OnMeta(TorchFunctionMode):
    """Everything is made on the meta device and goes there; draws need no generator."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        def moved(value: Any) -> Any:
            return value.to("meta") if isinstance(value, Tensor) else value

        options = {k: v for k, v in (kwargs or {}).items() if k != "generator"}
        args, options = tree_map(moved, (args, options))
        with torch.device("meta"):
            return func(*args, **options)


def tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


def assert_equal(module: nn.Module, other: nn.Module) -> None:
    expected, got = tensors(module), tensors(other)
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        assert got[key].device == value.device, key
        assert got[key].dtype == value.dtype, key
        assert torch.equal(got[key], value), key


def on_meta(name: str) -> nn.Module:
    with OnMeta():
        module = ALL[name]()
    # a part that several cases share is there already, and stays as it is
    return copy.deepcopy(module).to("meta")


def test_every_public_module_is_here() -> None:
    asked = {(name.split()[0], name.split()[1].rstrip(",")) for name in ALL}
    packages = [info.name for info in pkgutil.iter_modules(ssltok.__path__)]
    for package in packages:
        if package.startswith("_") or package == "training":  # objectives: under their cases' names
            continue
        modules = modules_of(package) - PROTOCOLS
        assert {(package, name) for name in modules} <= asked, package


@pytest.fixture
def garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `to_empty` returns is not by chance what was there before."""
    empty_like = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: empty_like(*a, **k).fill_(77))


@pytest.mark.usefixtures("garbage")
@pytest.mark.parametrize(("name", "assign"), in_turn(ALL, [False, True]))
def test_loaded_on_meta_it_is_the_same(name: str, assign: bool) -> None:
    torch.manual_seed(0)
    part = ALL[name]()
    new = on_meta(name)
    if not assign:
        new.to_empty(device="cpu")
    new.load_state_dict(copy.deepcopy(part.state_dict()), assign=assign)
    assert_equal(part, new)
    if name in CALLS:
        outs = []
        for module in (part.eval(), new.eval()):
            torch.manual_seed(1)
            outs.append(CALLS[name](module))
        assert torch.equal(*outs)


def latents(part: Any) -> Tensor:
    shape = [3, 4, 5] + [1] * max(part.channel_dim - 2, 0)
    shape[part.channel_dim] = part.dim
    return torch.linspace(-2, 2, math.prod(shape)).reshape(shape)


@pytest.mark.usefixtures("garbage")
@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("quantizers")])
def test_quantizers_loaded_on_meta_give_the_same(name: str) -> None:
    torch.manual_seed(0)
    part = ALL[name]().eval()
    new = on_meta(name).to_empty(device="cpu").eval()
    new.load_state_dict(part.state_dict())
    for one, other in zip(part(latents(part)), new(latents(part)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", [n for n in ALL if n in CALLS or n.startswith("quantizers")])
def test_it_runs_on_meta(name: str) -> None:
    """Shapes without values: those of a run on the CPU."""
    part = copy.deepcopy(ALL[name]()).eval()  # what several cases share stays where it is
    for module in part.modules():
        if hasattr(module, "generator"):
            setattr(module, "generator", None)  # noqa: B010
    call: Any
    if name.startswith("nn TokenTransformer"):  # how many logits it returns depends on values
        codes = CODES[1:] % 4
        codes = torch.stack([codes, codes % 3], dim=-1) if name.endswith("1") else codes
        context = CODES[1:, :2] % 3 if name.endswith("0") else None

        def over_features(module: Any) -> Any:
            read = None if context is None else module.embed_context(context)
            return module.head(module.features(codes, context=read)[:, 1:])

        call = over_features
    elif name in CALLS:
        call = CALLS[name]
    else:
        given = latents(part)

        def over_latents(module: Any) -> Any:
            return module(given)[0]

        call = over_latents

    torch.manual_seed(1)
    expected = call(part)
    part.to("meta")
    with OnMeta():
        got = call(part)
    assert got.is_meta
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype


OTHERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "FSQ of another length": (lambda: FSQ([8, 5, 5, 5]), lambda: FSQ([7, 5, 5, 5, 5])),
    "FSQ of another order": (lambda: FSQ([5, 7]), lambda: FSQ([7, 5])),
    "LFQ": (lambda: LFQ(4), lambda: LFQ(5)),
    "BSQ": (lambda: BSQ(4), lambda: BSQ(5)),
    "BSQ from LFQ": (lambda: LFQ(4), lambda: BSQ(4)),
    "FSQ from LFQ": (lambda: LFQ(4), lambda: FSQ([3, 3, 3, 3])),
    "projected": (
        lambda: ProjectedQuantizer(FSQ([5, 7]), 4), lambda: ProjectedQuantizer(FSQ([7, 5]), 4)
    ),
    "residual": (
        lambda: ResidualQuantizer([FSQ([5]), FSQ([7])]),
        lambda: ResidualQuantizer([FSQ([5]), FSQ([9])]),
    ),
    "grouped": (
        lambda: GroupedQuantizer([FSQ([5]), LFQ(2)]), lambda: GroupedQuantizer([FSQ([5]), LFQ(3)])
    ),
    "STFT": (lambda: STFT(n_fft=8), lambda: STFT(n_fft=4)),
    "STFT's hop": (lambda: STFT(n_fft=8, hop=8), lambda: STFT(n_fft=8, hop=2)),
    "ISTFT's band": (
        lambda: ISTFT(n_fft=8, band=(0, 2)), lambda: ISTFT(n_fft=8, band=(1, 3))
    ),
    "STFTBands": (lambda: STFTBands(21, n_fft=4), lambda: STFTBands(21, n_fft=8)),
    "rotary base": (
        lambda: RotaryPositions(8, grid=(6,)), lambda: RotaryPositions(8, grid=(6,), base=100.0)
    ),
    "rotary axes": (
        lambda: RotaryPositions(8, grid=(6,)), lambda: RotaryPositions(8, grid=(2, 3))
    ),
    "rotary dim": (lambda: RotaryPositions(8, grid=(6,)), lambda: RotaryPositions(4, grid=(6,))),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "how"), in_turn(OTHERS, itertools.product([True, False], ["plain", "assign", "file"]))
)
def test_a_state_of_other_options_is_refused(name: str, how: tuple[bool, str]) -> None:
    strict, way = how
    old, new = (build() for build in OTHERS[name])
    state: Any = old.state_dict()
    if way == "file":
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
    with pytest.raises(RuntimeError, match=r"\w+: the state must be that of a module with .*; got"):
        new.load_state_dict(state, strict=strict, assign=way == "assign")
    again = OTHERS[name][0]()
    again.load_state_dict(state, strict=strict)  # its own it takes
    assert_equal(again, old)


def test_a_state_that_says_nothing_is_taken() -> None:
    """One written before, or by safetensors; and the names in it are as they were."""
    for build in (lambda: FSQ([5, 7]), lambda: LFQ(3), lambda: STFT(n_fft=8)):
        assert list(build().state_dict()) == []
        build().load_state_dict({})
        silent = build().state_dict()
        for metadata in silent._metadata.values():  # type: ignore[attr-defined]
            metadata.pop(OPTIONS, None)
        build().load_state_dict(silent)


def test_rotary_weights_may_move_to_a_longer_grid() -> None:
    RotaryPositions(8, grid=(9,)).load_state_dict(RotaryPositions(8, grid=(6,)).state_dict())


@pytest.mark.parametrize("build", [
    lambda: FSQ([5, 8]), lambda: BSQ(3), lambda: RotaryPositions(8, grid=(5, 3)),
    lambda: STFT(n_fft=8), lambda: ISTFT(n_fft=8, band=(1, 3)),
])  # fmt: skip
def test_conversions_there_and_back_lose_nothing(build: Callable[[], DerivedBuffers]) -> None:
    plain, exact = build(), build()._derive()
    assert_equal(plain, build().half().bfloat16().float())
    for key, value in build().double().named_buffers():
        assert torch.equal(value, exact[key])
    shared = build()
    before = dict(shared.named_buffers())
    shared.float().cpu().share_memory()
    for key, value in shared.named_buffers():
        assert value is before[key]  # what need not change does not
        assert value.is_shared()


def test_what_is_assigned_says_where_the_rest_goes() -> None:
    """On the CPU here; a table without a parameter beside it goes to the default device."""

    class Both(DerivedBuffers):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))
            self._register_derived()

        def _derive(self) -> dict[str, Tensor]:
            return {"table": torch.tensor([0.1, 0.2], dtype=torch.float64)}

        def _derived_options(self) -> dict[str, Any]:
            return {}

    state = Both().state_dict()
    with torch.device("meta"):
        new, other = Both(), Both()
        new.load_state_dict(state, assign=True)
    assert new.table.device == new.weight.device == torch.device("cpu")
    assert torch.equal(new.get_buffer("table"), torch.tensor([0.1, 0.2]))
    other.load_state_dict({"weight": torch.ones(2, device="meta")}, assign=True)
    assert other.weight.is_meta
