"""What every public module of `ssltok.nn` promises."""

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ssltok.nn
from ssltok.nn import (
    Attention,
    AttentionPool,
    AverageMaxPool,
    CausalTokenTransformer,
    ConditionEmbedding,
    ContextEmbedding,
    ConvDecoder1d,
    ConvEncoder1d,
    CosinePatchDecoder1d,
    CosinePatchEncoder1d,
    DilatedConvEncoder,
    DINOHead,
    IterNorm,
    JEPAPredictor,
    LatentRegressor,
    LevelEmbedding,
    MAEDecoder,
    PatchDecoder1d,
    PatchEmbed1d,
    PatchEncoder1d,
    Predictor,
    PriorDiscriminator,
    Projector,
    ResNet1d,
    RotaryPositions,
    Snake,
    SnakeDecoder,
    SnakeEncoder,
    SpectrogramDecoder,
    SpectrogramEncoder,
    StochasticDepth,
    SwinTransformer1d,
    TokenEmbedding,
    TokenTransformer,
    Transformer,
    TransformerDecoder1d,
    TransformerEncoder1d,
    ValidBatchNorm1d,
    ValidBatchNorm2d,
    VariationalBottleneck,
    ViT1d,
)
from tests.nn.option_cases import OPTION_CASES
from tests.nn.option_law import assert_options_are_read_back, options_with_default

SIZES: dict[str, Any] = {"bins": 3, "frames": 19, "width": 5}
TRANSFORMER: dict[str, Any] = {"length": 19, "patch": 4, "hidden_dim": 8, "depth": 2, "heads": 2}
CODES = torch.tensor([[0, 4, 2, 1], [3, 3, 4, 0], [1, 0, 2, 2]])
SLOTS = torch.tensor([[0, 2, 1, 2], [2, 2, 0, 1], [1, 0, 2, 2]])
PLACES = (torch.tensor([[0, 3], [1, -1], [2, 4]]), torch.tensor([[1, 2], [0, 5], [3, -1]]))
Call = Callable[[nn.Module, Tensor], Tensor]


def apply(module: nn.Module, x: Tensor) -> Tensor:
    out = module(x)
    assert isinstance(out, Tensor)
    return out


def restored(module: nn.Module, x: Tensor) -> Tensor:
    out = module(x, SLOTS)
    assert isinstance(out, Tensor)
    return out


def at_places(module: nn.Module, x: Tensor) -> Tensor:
    out = module(x, *PLACES)
    assert isinstance(out, Tensor)
    return out


def draw(module: nn.Module, x: Tensor) -> Tensor:
    """Use a bottleneck that returns three tensors."""
    return torch.cat(module(x), dim=-1)


def turn(module: nn.Module, x: Tensor) -> Tensor:
    cos, sin = module(x.shape[1])
    assert isinstance(cos, Tensor)
    turned: Tensor = x * cos + x * sin
    return turned


def over_codes(module: nn.Module, x: Tensor) -> Tensor:
    """Use a module of codes on fixed codes; `x` joins at the end, to carry a gradient."""
    out = module(CODES)
    assert isinstance(out, Tensor)
    return out + x


def prior_call(module: nn.Module, x: Tensor) -> Tensor:
    out = module(CODES, CODES == 4, torch.tensor([1, -1, 0]), context=x)
    assert isinstance(out, Tensor)
    return out


def prior() -> TokenTransformer:
    trunk = Transformer(8, depth=2, heads=2)
    return TokenTransformer(TokenEmbedding(4, 8), trunk, tokens=4, classes=2, label_dropout=0.5)


def causal() -> CausalTokenTransformer:
    trunk = Transformer(8, depth=2, heads=2, causal=True)
    return CausalTokenTransformer(TokenEmbedding(4, 8), trunk, tokens=4, classes=2)


def vit() -> ViT1d:
    return ViT1d(PatchEmbed1d(2, 8, patch=5), Transformer(8, depth=2, heads=2), registers=2)


def swin() -> SwinTransformer1d:
    return SwinTransformer1d(
        PatchEmbed1d(2, 8, patch=3), depths=(2, 1), heads=(2, 2), window=3, stochastic_depth=0.2
    )


def context() -> ContextEmbedding:
    return ContextEmbedding(TokenEmbedding(4, 8), grid=(2, 2), onto=(3, 5))


CASES: dict[str, tuple[Callable[[], nn.Module], Call, tuple[int, ...]]] = {
    "Attention": (lambda: Attention(8, heads=2), apply, (3, 5, 8)),
    "AttentionPool": (lambda: AttentionPool(4, hidden_dim=3, channel_dim=1), apply, (3, 4, 5)),
    "AverageMaxPool": (AverageMaxPool, apply, (3, 4, 2, 5)),
    "CausalTokenTransformer": (causal, over_codes, (3, 4, 4)),
    "ConditionEmbedding": (
        lambda: ConditionEmbedding(8, channels=2, length=12, grid=(2, 3)),
        lambda module, x: module(None, x),
        (3, 2, 12),
    ),
    "ContextEmbedding": (context, over_codes, (3, 15, 8)),
    "ConvDecoder1d": (lambda: ConvDecoder1d(2, 8, length=19, width=5), apply, (3, 8, 5)),
    "ConvEncoder1d": (lambda: ConvEncoder1d(2, 8, length=19, width=5), apply, (3, 2, 19)),
    "CosinePatchDecoder1d": (
        lambda: CosinePatchDecoder1d(8, length=19, patch=4),
        apply,
        (3, 8, 5),
    ),
    "CosinePatchEncoder1d": (
        lambda: CosinePatchEncoder1d(8, length=19, patch=4),
        apply,
        (3, 1, 19),
    ),
    "DINOHead": (lambda: DINOHead(4, out_dim=6, hidden_dim=8, bottleneck_dim=3), apply, (5, 4)),
    "DilatedConvEncoder": (
        lambda: DilatedConvEncoder(2, 6, hidden_dim=4, depth=2),
        apply,
        (3, 2, 19),
    ),
    "IterNorm": (lambda: IterNorm(6, group_size=2), apply, (5, 6)),
    "JEPAPredictor": (
        lambda: JEPAPredictor(6, Transformer(8, depth=1, heads=2)),
        at_places,
        (3, 2, 6),
    ),
    "LatentRegressor": (lambda: LatentRegressor(6, depth=2, heads=2), at_places, (3, 2, 6)),
    "LevelEmbedding": (lambda: LevelEmbedding((3, 3, 2, 4), 8), over_codes, (3, 8)),
    "MAEDecoder": (lambda: MAEDecoder(6, 5, Transformer(8, depth=1, heads=2)), restored, (3, 2, 6)),
    "PatchDecoder1d": (lambda: PatchDecoder1d(2, 8, length=19, patch=4), apply, (3, 8, 5)),
    "PatchEncoder1d": (lambda: PatchEncoder1d(2, 8, length=19, patch=4), apply, (3, 2, 19)),
    "PatchEmbed1d": (lambda: PatchEmbed1d(2, 8, patch=5, stride=3), apply, (3, 2, 19)),
    "Predictor": (lambda: Predictor(4, hidden_dim=3), apply, (5, 4)),
    "PriorDiscriminator": (lambda: PriorDiscriminator(4, hidden_dim=8), apply, (5, 4)),
    "Projector": (lambda: Projector(4, hidden_dim=8, out_dim=6), apply, (5, 4)),
    "ResNet1d": (lambda: ResNet1d(2, widths=(4, 6), blocks=(1, 1)), apply, (3, 2, 19)),
    "RotaryPositions": (lambda: RotaryPositions(8, grid=(5,)), turn, (3, 5, 4)),
    "Snake": (lambda: Snake(4), apply, (3, 4, 2, 5)),
    "SnakeDecoder": (lambda: SnakeDecoder(2, 8, **SIZES), apply, (3, 8, 3, 4)),
    "SnakeEncoder": (lambda: SnakeEncoder(2, 8, **SIZES), apply, (3, 2, 3, 19)),
    "SpectrogramDecoder": (lambda: SpectrogramDecoder(2, 8, **SIZES), apply, (3, 8, 3, 4)),
    "SpectrogramEncoder": (lambda: SpectrogramEncoder(2, 8, **SIZES), apply, (3, 2, 3, 19)),
    "StochasticDepth": (lambda: StochasticDepth(0.3), apply, (5, 4, 2)),
    "SwinTransformer1d": (swin, apply, (3, 2, 19)),
    "TokenEmbedding": (lambda: TokenEmbedding(4, 8), over_codes, (3, 4, 8)),
    "TokenTransformer": (prior, prior_call, (3, 4, 8)),
    "Transformer": (lambda: Transformer(8, depth=2, heads=2), apply, (3, 5, 8)),
    "TransformerDecoder1d": (lambda: TransformerDecoder1d(2, 6, **TRANSFORMER), apply, (3, 6, 5)),
    "TransformerEncoder1d": (lambda: TransformerEncoder1d(2, 6, **TRANSFORMER), apply, (3, 2, 19)),
    "ValidBatchNorm1d": (lambda: ValidBatchNorm1d(2), apply, (3, 2, 19)),
    "ValidBatchNorm2d": (lambda: ValidBatchNorm2d(2), apply, (3, 2, 5, 7)),
    "VariationalBottleneck": (lambda: VariationalBottleneck(4, 3), draw, (5, 4)),
    "ViT1d": (vit, apply, (3, 2, 19)),
}
every = pytest.mark.parametrize("name", CASES)


def ready(name: str) -> tuple[nn.Module, Call, Tensor]:
    torch.manual_seed(0)
    make, call, shape = CASES[name]
    return make(), call, torch.randn(shape)


def test_every_module_is_here() -> None:
    things = {n: getattr(ssltok.nn, n) for n in ssltok.nn.__all__}
    modules = {n for n, t in things.items() if inspect.isclass(t) and issubclass(t, nn.Module)}
    assert modules == set(CASES)


def test_functions_and_constructors_take_few_options() -> None:
    for name in ssltok.nn.__all__:
        options = [
            p
            for p in inspect.signature(getattr(ssltok.nn, name)).parameters.values()
            if p.kind is inspect.Parameter.KEYWORD_ONLY
        ]
        # A transformer is its layers, and every field adds a word to them.
        assert len(options) <= (12 if name == "Transformer" else 10), name


@every
def test_input_is_untouched_and_gradients_are_finite(name: str) -> None:
    module, call, x = ready(name)
    kept = x.clone()
    leaf = x.requires_grad_()
    out = call(module, leaf)
    (grad,) = torch.autograd.grad((out * torch.randn_like(out)).sum(), leaf)
    assert torch.equal(leaf.detach(), kept)
    assert torch.isfinite(out).all()
    assert torch.isfinite(grad).all()
    assert grad.abs().max() > 0


@every
def test_evaluation_draws_nothing_changes_nothing_and_repeats(name: str) -> None:
    module, call, x = ready(name)
    call(module, x)
    module.eval()
    random, state = torch.get_rng_state(), copy.deepcopy(module.state_dict())
    first = call(module, x)
    assert torch.equal(first, call(module, x))
    assert torch.equal(random, torch.get_rng_state())
    for key, value in module.state_dict().items():
        assert torch.equal(value, state[key]), key


@every
def test_state_dict_holds_everything(name: str) -> None:
    module, call, x = ready(name)
    call(module, x)
    twin = CASES[name][0]().eval()
    twin.load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(call(twin, x), call(module.eval(), x))


@every
def test_a_pickle_and_a_copy_are_the_module(name: str) -> None:
    """Loaders in other processes, `torch.save` of a whole model, and joblib need it."""
    module, call, x = ready(name)
    module.eval()
    expected = call(module, x)
    for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        assert list(twin.state_dict()) == list(module.state_dict())
        assert torch.equal(call(twin, x), expected)
        trained = [p.requires_grad for p in module.parameters()]
        assert [p.requires_grad for p in twin.parameters()] == trained


@every
def test_construction_repeats_from_the_seed(name: str) -> None:
    first, call, x = ready(name)
    torch.manual_seed(0)
    second = CASES[name][0]()
    assert torch.equal(call(first.eval(), x), call(second.eval(), x))


@every
def test_double_precision_agrees(name: str) -> None:
    module, call, x = ready(name)
    module.eval()
    low = call(module, x)
    high = call(module.double(), x.double())
    assert high.dtype == torch.float64
    torch.testing.assert_close(low.double(), high, atol=1e-5, rtol=1e-4)


@every
def test_autocast_stays_close(name: str) -> None:
    module, call, x = ready(name)
    module.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = call(module, x)
    high = call(module, x)
    assert (low.double() - high).square().mean() <= 2e-3 * high.square().mean()


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"TokenTransformer", "RotaryPositions"}))
def test_one_graph_and_export(name: str) -> None:
    """The prior, whose rows depend on values, has a test of its own."""
    module, _, x = ready(name)
    of_codes = "Embedding" in name or name == "CausalTokenTransformer"
    sample: tuple[Tensor, ...] = (CODES if of_codes else x,)
    if name in {"JEPAPredictor", "LatentRegressor"}:
        sample = (x, *PLACES)
    elif name == "ConditionEmbedding":
        sample = (torch.randn(3, 0), x)
    elif name == "MAEDecoder":
        sample = (x, SLOTS)
    for training in (True, False):
        module.train(training)
        # dropout draws from torch's generator: the same seed before either call
        torch.manual_seed(1)
        expected = module(*sample)
        compiled = torch.compile(module, fullgraph=True, backend="eager")
        torch.manual_seed(1)
        torch.testing.assert_close(compiled(*sample), expected)
    exported = torch.export.export(module, sample).module()
    torch.testing.assert_close(exported(*sample), module(*sample))


@every
def test_options_are_read_back(name: str) -> None:
    """Each option at a value that is not its default, or None for a tensor that only starts."""
    changed: set[str] = set()
    for build, call in OPTION_CASES[name]:
        assert type(build()).__name__ == name
        changed |= assert_options_are_read_back(build, call)
    starts = {"codebook", "codebooks"}
    assert changed >= options_with_default(OPTION_CASES[name][0][0]()) - starts
