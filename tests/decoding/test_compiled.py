"""A compiled prior inside the decoder: the same tokens, and no new graph from step to step."""

import os
import shutil
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from ssltok.decoding import confidence_order, entropy_bound, iterative_decode, temperature_sample
from ssltok.masking import cosine_schedule
from ssltok.nn import TokenEmbedding, TokenTransformer, Transformer

CODES, TOKENS = 5, 12


def prior() -> TokenTransformer:
    torch.manual_seed(0)
    module = TokenTransformer(
        TokenEmbedding(CODES, 16), Transformer(16, depth=2, heads=2), tokens=TOKENS, classes=2
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2)
    return module.eval()


def decode(module: Any, features: Any, *, settle: Any = None, rows: int = 4) -> Tensor:
    labels = torch.arange(rows) % 2

    def logits(tokens: Tensor, where: Tensor) -> Tensor:
        result: Tensor = module.head(features(tokens, labels)[where])
        return result

    return iterative_decode(
        logits, torch.full((rows, TOKENS), CODES), mask_index=CODES, steps=8,
        schedule=cosine_schedule, order=confidence_order(temperature=1.0), settle=settle,
        sample=temperature_sample(), generator=torch.Generator().manual_seed(1),
    )  # fmt: skip


@pytest.mark.parametrize("settle", [None, entropy_bound(1.0)])
def test_one_graph_for_all_steps(settle: Any) -> None:
    """`features` takes all tokens at each step, so its shapes never change; the head is outside."""
    module = prior()
    counter = CompileCounterWithBackend("eager")
    torch.compiler.reset()
    features = torch.compile(module.features, fullgraph=True, backend=counter, dynamic=False)
    expected = decode(module, module.features, settle=settle)
    assert torch.equal(decode(module, features, settle=settle), expected)
    assert counter.frame_count == 1
    assert torch.equal(decode(module, features, settle=settle), expected)
    assert counter.frame_count == 1


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
def test_by_the_compiler_that_is_the_default() -> None:
    if not os.environ.get("SSLTOK_ALL"):
        pytest.skip("with SSLTOK_ALL=1")
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile of CPU code needs a C++ compiler; there is none")
    module = prior()
    torch.compiler.reset()
    features = torch.compile(module.features, dynamic=False)
    with torch.no_grad():
        tokens = torch.randint(CODES + 1, (4, TOKENS), generator=torch.Generator().manual_seed(2))
        labels = torch.arange(4) % 2
        torch.testing.assert_close(
            features(tokens, labels), module.features(tokens, labels), rtol=1e-4, atol=1e-5
        )
    codes = decode(module, features)
    assert codes.shape == (4, TOKENS)
    assert int(codes.max()) < CODES
