"""What every pair of encoder and decoder promises: its grid, its sizes, and padding unseen."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from ssltok.nn import (
    ConvDecoder1d,
    ConvEncoder1d,
    CosinePatchDecoder1d,
    CosinePatchEncoder1d,
    PatchDecoder1d,
    PatchEncoder1d,
    SnakeDecoder,
    SnakeEncoder,
    SpectrogramDecoder,
    SpectrogramEncoder,
    TransformerDecoder1d,
    TransformerEncoder1d,
)


def places(lengths: list[int], size: int, count: int) -> Tensor:
    """Place j of n is real if and only if j * size / n < length: the rule, by itself."""
    return torch.tensor([[j * size < length * count for j in range(count)] for length in lengths])


def by_halving(lengths: list[int], size: int, count: int) -> Tensor:
    """The real samples, halved or doubled until there are `count`, the last of them alone."""
    factor = 1
    large, small = max(size, count), min(size, count)
    while -(-large // factor) != small:
        factor *= 2
    firsts = [j * factor if count <= size else j // factor for j in range(count)]
    return torch.tensor([[first < length for first in firsts] for length in lengths])


def by_patch(lengths: list[int], size: int, count: int) -> Tensor:
    """Patches of 4 samples are real if they hold a real one."""
    del size
    return torch.tensor([[4 * j < length for j in range(count)] for length in lengths])


class Pair(NamedTuple):
    """Builds encoder and decoder of an input `(*front, size)`; `size` is its time axis."""

    build: Callable[[int], tuple[Any, Any]]
    front: tuple[int, ...]
    sizes: tuple[int, ...]
    rule: Callable[[list[int], int, int], Tensor] = places


def spectrogram(**options: int) -> Callable[[int], tuple[Any, Any]]:
    def build(frames: int) -> tuple[Any, Any]:
        sizes: dict[str, Any] = {"bins": 3, "frames": frames, "width": 5, **options}
        return SpectrogramEncoder(2, 6, **sizes), SpectrogramDecoder(2, 6, **sizes)

    return build


def snake(**options: Any) -> Callable[[int], tuple[Any, Any]]:
    def build(frames: int) -> tuple[Any, Any]:
        sizes = {"bins": 3, "frames": frames, "width": 5, "dropout": 0.0, **options}
        return SnakeEncoder(2, 6, **sizes), SnakeDecoder(2, 6, **sizes)

    return build


def patches(**options: int) -> Callable[[int], tuple[Any, Any]]:
    def build(length: int) -> tuple[Any, Any]:
        sizes: dict[str, Any] = {"length": length, "patch": 4, "hidden_dim": 5, **options}
        return PatchEncoder1d(2, 6, **sizes), PatchDecoder1d(2, 6, **sizes)

    return build


def cosines(**options: int) -> Callable[[int], tuple[Any, Any]]:
    def build(length: int) -> tuple[Any, Any]:
        sizes: dict[str, Any] = {"length": length, "patch": 4, "hidden_dim": 5, **options}
        pair = CosinePatchEncoder1d(6, **sizes), CosinePatchDecoder1d(6, **sizes)
        for parameter in torch.nn.ModuleList(pair).parameters():
            torch.nn.init.normal_(parameter, std=0.3)  # the networks start at 0
        return pair

    return build


def conv(**options: int) -> Callable[[int], tuple[Any, Any]]:
    def build(length: int) -> tuple[Any, Any]:
        sizes = {"length": length, "width": 5, "hidden_dim": 4, "blocks": 1, **options}
        return ConvEncoder1d(2, 6, **sizes), ConvDecoder1d(2, 6, **sizes)

    return build


def transformer(**options: int) -> Callable[[int], tuple[Any, Any]]:
    def build(length: int) -> tuple[Any, Any]:
        sizes: dict[str, Any] = {"length": length, "patch": 4, "hidden_dim": 8, "depth": 2}
        sizes |= {"heads": 2, **options}
        return TransformerEncoder1d(2, 6, **sizes), TransformerDecoder1d(2, 6, **sizes)

    return build


PAIRS = {
    "spectrogram": Pair(spectrogram(), (2, 3), (4, 19, 38)),
    "spectrogram without blocks": Pair(spectrogram(blocks=0), (2, 3), (23,)),
    "snake": Pair(snake(), (2, 3), (4, 19, 38)),
    "patches": Pair(patches(blocks=2), (2,), (3, 19, 36)),
    "patches of odd size, without blocks": Pair(patches(patch=3, blocks=0), (2,), (23,)),
    "cosine patches": Pair(cosines(), (1,), (3, 19, 36)),
    "cosine patches of odd size": Pair(cosines(patch=3, blocks=0), (1,), (23,)),
    "convolutions": Pair(conv(), (2,), (4, 19, 42), by_halving),
    "convolutions, wider kernels": Pair(conv(kernel_size=5, blocks=2), (2,), (23,), by_halving),
    "transformer": Pair(transformer(), (2,), (4, 19, 36), by_patch),
    "snake without blocks": Pair(snake(blocks=0, mix_freq=False), (2, 3), (23,)),
}
CASES = [(name, size) for name, pair in PAIRS.items() for size in pair.sizes]
every = pytest.mark.parametrize(("name", "size"), CASES)
LENGTHS = (1.0, 0.55, 0.3, 0.75)  # of the time axis


def ready(name: str, size: int) -> tuple[Any, Any]:
    """Build a pair in float64 whose norms and zeros are not those of the start."""
    torch.manual_seed(0)
    pair = PAIRS[name].build(size)
    for part in pair:
        part.double()
        for parameter in part.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.3)
        for norm in part.modules():
            if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                assert norm.running_mean is not None
                assert norm.running_var is not None
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.bias)
                nn.init.normal_(norm.running_mean)
                nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return pair


def ragged(shape: tuple[int, ...], lengths: list[int]) -> tuple[Tensor, Tensor]:
    x = torch.randn(len(lengths), *shape, dtype=torch.float64)
    return x, torch.arange(shape[-1]) < torch.tensor(lengths).unsqueeze(1)


def over(valid: Tensor, x: Tensor) -> Tensor:
    """Lay `(batch, places)` over the axes of `x`, `(batch, channels, ..., places)`."""
    return valid.view(len(valid), *[1] * (x.ndim - 2), -1).expand_as(x)


def encoder_case(name: str, size: int) -> tuple[Any, Tensor, Tensor, list[int]]:
    encoder, _ = ready(name, size)
    lengths = [max(1, round(share * size)) for share in LENGTHS]
    return encoder, *ragged((*PAIRS[name].front, size), lengths), lengths


def decoder_case(name: str, size: int) -> tuple[Any, Tensor, Tensor, list[int]]:
    _, decoder = ready(name, size)
    grid = decoder.grid
    lengths = [max(1, round(share * grid[-1])) for share in LENGTHS]
    return decoder, *ragged((decoder.dim, *grid), lengths), lengths


def norms(part: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in part.state_dict().items() if "running" in key}


# Oracle ---------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("case", [encoder_case, decoder_case])
def test_norms_count_the_real_places_alone(case: Any, name: str, size: int) -> None:
    """Mean and variance of what enters each norm, gathered one place after the other."""
    part, x, valid, lengths = case(name, size)
    seen: dict[str, Tensor] = {}
    for key, norm in part.named_modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.momentum = 1.0
            norm.register_forward_pre_hook(
                lambda _, inputs, key=key: seen.__setitem__(key, inputs[0].detach().clone())
            )
    part(x, valid)
    assert bool(seen) == bool(norms(part))
    for key, entered in seen.items():
        real = PAIRS[name].rule(lengths, valid.shape[1], entered.shape[-1])
        values = torch.stack(
            [
                entered[b, ..., j]
                for b in range(len(real))
                for j in range(real.shape[1])
                if real[b, j]
            ]
        ).transpose(0, 1).flatten(1)  # fmt: skip
        norm = part.get_submodule(key)
        torch.testing.assert_close(norm.running_mean, values.mean(1))
        torch.testing.assert_close(norm.running_var, values.var(1))


# Laws -----------------------------------------------------------------------------------------


@every
def test_sizes(name: str, size: int) -> None:
    encoder, decoder = PAIRS[name].build(size)
    front = PAIRS[name].front
    x = torch.randn(3, *front, size)
    latents = encoder(x)
    assert encoder.grid == decoder.grid
    assert isinstance(encoder.grid, tuple)
    assert latents.shape == (3, encoder.dim, *encoder.grid)
    assert encoder.dim == decoder.dim
    assert decoder(latents).shape == x.shape


@every
@pytest.mark.parametrize("training", [False, True])
def test_padding_cannot_leak_into_latents(name: str, size: int, training: bool) -> None:
    first, x, valid, lengths = encoder_case(name, size)
    second = encoder_case(name, size)[0]
    real = PAIRS[name].rule(lengths, size, first.grid[-1])
    outs = []
    for part, filler in ((first, 0.0), (second, torch.nan)):
        part.train(training)
        leaf = x.masked_fill(~over(valid, x), filler).requires_grad_()
        out = part(leaf, valid)
        learned = [p for p in part.parameters() if p.requires_grad]
        grad, *others = torch.autograd.grad((out * torch.randn_like(out)).sum(), [leaf, *learned])
        assert torch.isfinite(grad).all()
        assert all(torch.isfinite(other).all() for other in others)
        assert (grad[~over(valid, grad)] == 0).all()
        outs.append(out)
    assert torch.equal(outs[0], outs[1])
    assert (outs[0][~over(real, outs[0])] == 0).all()
    assert (outs[0].abs().sum(1).flatten(1, -2).sum(1) > 0 if outs[0].ndim > 3 else real)[
        real
    ].all()
    for key, value in norms(first).items():
        assert torch.equal(value, norms(second)[key]), key


@every
@pytest.mark.parametrize("training", [False, True])
def test_padding_vectors_count_as_zeros(name: str, size: int, training: bool) -> None:
    first, x, valid, _ = decoder_case(name, size)
    second = decoder_case(name, size)[0]
    outs = []
    for part, filler in ((first, 0.0), (second, torch.nan)):
        part.train(training)
        leaf = x.masked_fill(~over(valid, x), filler).requires_grad_()
        out = part(leaf, valid)
        learned = [p for p in part.parameters() if p.requires_grad]
        grad, *others = torch.autograd.grad((out * torch.randn_like(out)).sum(), [leaf, *learned])
        assert torch.isfinite(grad).all()
        assert all(torch.isfinite(other).all() for other in others)
        assert (grad[~over(valid, grad)] == 0).all()
        outs.append(out)
    assert torch.equal(outs[0], outs[1])
    for key, value in norms(first).items():
        assert torch.equal(value, norms(second)[key]), key


@every
@pytest.mark.parametrize("case", [encoder_case, decoder_case])
def test_rows_are_independent_in_evaluation(case: Any, name: str, size: int) -> None:
    part, x, valid, _ = case(name, size)
    part.eval()
    alone = torch.cat([part(x[row : row + 1], valid[row : row + 1]) for row in range(len(x))])
    torch.testing.assert_close(part(x, valid), alone)


@every
@pytest.mark.parametrize("case", [encoder_case, decoder_case])
def test_all_real_is_the_default(case: Any, name: str, size: int) -> None:
    """To the bit in evaluation; in training the sums of the statistics have another order."""
    first, x, valid, _ = case(name, size)
    second = case(name, size)[0]
    everything = torch.ones_like(valid)
    torch.testing.assert_close(first(x, everything), second(x))
    for key, value in norms(first).items():
        torch.testing.assert_close(value, norms(second)[key], msg=key)
    first.load_state_dict(second.state_dict())
    assert torch.equal(first.eval()(x, everything), second.eval()(x))


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("case", [encoder_case, decoder_case])
def test_gradients(case: Any, name: str) -> None:
    part, x, valid, _ = case(name, min(PAIRS[name].sizes))
    x = x.requires_grad_()
    weights = torch.randn_like(part(x, valid))
    assert torch.autograd.gradcheck(lambda x: (part(x, valid) * weights).sum(), (x,))
    every = [p for p in part.parameters() if p.requires_grad]
    grads = torch.autograd.grad((part(x, valid) * weights).sum(), every)
    assert all(torch.isfinite(grad).all() and grad.abs().max() > 0 for grad in grads)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("case", [encoder_case, decoder_case])
def test_one_graph_and_export_with_padding(case: Any, name: str) -> None:
    part, x, valid, _ = case(name, max(PAIRS[name].sizes))
    twin = case(name, max(PAIRS[name].sizes))[0]
    compiled = torch.compile(part, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, valid), twin(x, valid))  # type: ignore[no-untyped-call]
    exported = torch.export.export(part.eval(), (x, valid)).module()
    torch.testing.assert_close(exported(x, valid), part(x, valid))


# Complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("case", [encoder_case, decoder_case])
def test_valid_is_checked(case: Any, name: str) -> None:
    part, x, valid, _ = case(name, max(PAIRS[name].sizes))
    who = type(part).__name__
    with pytest.raises(ValueError, match=rf"{who}: valid must be boolean; got torch.float32"):
        part(x, valid.float())
    with pytest.raises(ValueError, match=rf"{who}: valid must have shape \(4, {valid.shape[1]}\)"):
        part(x, valid[:, :-1])
