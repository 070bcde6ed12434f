"""Parts that an option shares its name with keep their name in the state."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from ssltok.nn import (
    DINOHead,
    PatchEmbed1d,
    PriorDiscriminator,
    Projector,
    ResNet1d,
    SwinTransformer1d,
    TokenEmbedding,
    TokenTransformer,
    Transformer,
    ViT1d,
)


def prior() -> TokenTransformer:
    trunk = Transformer(8, depth=1, heads=2)
    return TokenTransformer(TokenEmbedding(4, 8), trunk, tokens=4, registers=2)


def vit() -> ViT1d:
    return ViT1d(PatchEmbed1d(2, 8, patch=5), Transformer(8, depth=1, heads=2), mask_token=True)


def swin() -> SwinTransformer1d:
    return SwinTransformer1d(PatchEmbed1d(2, 8, patch=3), depths=(1,), heads=(2,), window=3)


STORED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "DINOHead": (lambda: DINOHead(4, out_dim=6, hidden_dim=8, layers=2), "layers.2.weight"),
    "PriorDiscriminator": (lambda: PriorDiscriminator(4, hidden_dim=8), "layers.0.bias"),
    "Projector": (lambda: Projector(4, hidden_dim=8, out_dim=6), "layers.1.running_mean"),
    "ResNet1d": (lambda: ResNet1d(2, widths=(4,), blocks=(1,)), "blocks.0.first.norm.weight"),
    "SwinTransformer1d": (swin, "norm.weight"),
    "TokenTransformer": (prior, "registers"),
    "Transformer": (lambda: Transformer(8, depth=1, heads=2), "norm.bias"),
    "ViT1d": (vit, "mask_token"),
}
every = pytest.mark.parametrize("name", STORED)


@every
def test_the_state_keeps_its_names(name: str) -> None:
    build, key = STORED[name]
    plain = {name: nn.Linear(1, 1) for name in ("mlp", "body", "last_norm", "mask_vector")}
    module = nn.ModuleDict({**plain, "layers": build(), "norm": build()})  # the same names outside
    state = module.state_dict()
    assert all(f"{outer}.weight" in state for outer in plain)
    for outer in ("layers", "norm"):
        assert f"{outer}.{key}" in state
        inside = [k for k in state if k.startswith(outer + ".")]
        assert len(inside) == len(build().state_dict())
        assert not any(f".{new}." in f".{k}." for k in inside for new in ("body", "last_norm"))
    twin = nn.ModuleDict({**copy.deepcopy(plain), "layers": build(), "norm": build()})
    changed = {k: v + 1 for k, v in state.items()}
    assert str(twin.load_state_dict(changed)) == "<All keys matched successfully>"
    for entry, value in twin.state_dict().items():
        assert torch.equal(value, changed[entry]), entry
    missing = {k: v for k, v in changed.items() if k != f"norm.{key}"}
    with pytest.raises(RuntimeError, match="Missing key"):
        twin.load_state_dict(missing)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        twin.load_state_dict(changed | {"norm.nothing": torch.zeros(1)})


@every
def test_copies_keep_them_too(name: str) -> None:
    build, key = STORED[name]
    module = build()
    twin = copy.deepcopy(module)
    assert list(twin.state_dict()) == list(module.state_dict())
    twin.load_state_dict({k: v + 1 for k, v in module.state_dict().items()})
    torch.testing.assert_close(twin.state_dict()[key], module.state_dict()[key] + 1)


def test_options_have_the_names_instead() -> None:
    trunk = Transformer(8, depth=2, heads=2, norm=nn.RMSNorm)
    assert trunk.norm is nn.RMSNorm
    assert isinstance(trunk.last_norm, nn.RMSNorm)
    assert (prior().registers, vit().mask_token, ResNet1d(2).blocks) == (2, True, (2, 2, 2, 2))
    head = DINOHead(4, out_dim=6, layers=2)
    assert (head.layers, len(head.mlp)) == (2, 3)
    # torch.func reaches every parameter by the name that the module itself gives it
    x = torch.randn(2, 3, 8)
    out = torch.func.functional_call(trunk, dict(trunk.named_parameters()), (x,))
    assert torch.equal(out, trunk(x))
