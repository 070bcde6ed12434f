"""Compiled and exported quantizers keep the number of tokens free, however large it gets."""

import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from ssltok.quantizers import (
    BSQ,
    FSQ,
    LFQ,
    EMAVectorQuantizer,
    GroupedQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    SimVQ,
    VectorQuantizer,
    codebook_entropy_loss,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"  # torch's own, while tracing
)

entropy = partial(codebook_entropy_loss, temperature=0.7)
CASES: dict[str, Any] = {
    "vector": lambda: VectorQuantizer(4, 300, channel_dim=1),
    "ema, cosine": lambda: EMAVectorQuantizer(4, 300, cosine=True, channel_dim=1),
    "entropy": lambda: VectorQuantizer(4, 9, regularizer=entropy, channel_dim=1),
    "simvq": lambda: SimVQ(4, 300, channel_dim=1),
    "lfq": lambda: LFQ(4, temperature=1.0, channel_dim=1),
    "bsq": lambda: BSQ(4, channel_dim=1),
    "residual": lambda: ResidualQuantizer(
        [EMAVectorQuantizer(4, 9), SimVQ(4, 5)], dropout=0.5, channel_dim=1
    ),
    "projected groups": lambda: ProjectedQuantizer(
        GroupedQuantizer([VectorQuantizer(2, 5), FSQ([5])]), 4, channel_dim=1
    ),
}
names = pytest.mark.parametrize("name", CASES)


def build(name: str) -> Any:
    torch.manual_seed(0)
    return CASES[name]()


def data(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).exp() - 0.7


def export(quantizer: nn.Module, example: Tensor, *free: int) -> Any:
    """Export with some axes free, without bounds."""
    axes = {axis: torch.export.Dim(f"axis{axis}") for axis in free}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(quantizer, (example,), dynamic_shapes=(axes,))
    return program.module()


@names
def test_export_keeps_the_number_of_tokens_free(name: str) -> None:
    quantizer = build(name).train(name == "entropy")  # which is in the loss of training alone
    program = export(quantizer, data(3, 4, 6), 0, 2)
    for shape in ((7, 4, 11), (10, 4, 200)):  # fewer tokens than 4 x 300 codes, and more
        latents = data(*shape, seed=3)
        expected, got = quantizer(latents), program(latents)
        assert torch.equal(got[1], expected.codes)
        torch.testing.assert_close(got[0], expected.vectors)
        torch.testing.assert_close(got[2], expected.loss)


@pytest.mark.parametrize(
    "quantizer", [VectorQuantizer(4, 5), LFQ(4), BSQ(4)], ids=lambda q: type(q).__name__
)
def test_export_of_flat_tokens_keeps_their_number_free(quantizer: Any) -> None:
    program = export(quantizer.eval(), data(6, 4), 0)
    for tokens in (2, 19, 500_000 if isinstance(quantizer, LFQ) else 1201):
        latents = data(tokens, 4)
        assert torch.equal(program(latents)[1], quantizer.encode(latents))
        torch.testing.assert_close(program(latents)[2], quantizer(latents).loss)


@pytest.mark.parametrize("name", ["vector", "entropy", "lfq"])
def test_compiled_once_it_trains_on_any_number_of_tokens(name: str) -> None:
    """The second number makes it free, no later one compiles again; gradients are as eager."""
    quantizer = build(name)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled: Any = torch.compile(quantizer, fullgraph=True, backend=counter)
    for step, tokens in enumerate((6, 11, 700, 3000)):
        grads = []
        for run in (quantizer, compiled):
            latents = data(2, 4, tokens).requires_grad_()
            quantizer.zero_grad()
            vectors, _, loss = run(latents)
            (vectors.square().sum() + 3 * loss).backward()
            grads.append([latents.grad, *(p.grad for p in quantizer.parameters())])
        torch.testing.assert_close(grads[1], grads[0])
        assert counter.frame_count <= min(step + 1, 2)
