"""Where a graph goes to ONNX, the search for the nearest code is of torch's own operations."""

import pytest
import torch
from torch import Tensor, nn

from ssltok.quantizers import VectorQuantizer, nearest_codes


class Search(nn.Module):
    def __init__(self, codebook: Tensor) -> None:
        super().__init__()
        self.codebook = nn.Buffer(codebook)

    def forward(self, tokens: Tensor) -> Tensor:
        return nearest_codes(tokens, self.codebook)


def operations(program: torch.export.ExportedProgram) -> set[str]:
    nodes = program.graph.nodes
    return {str(node.target).split(".")[0] for node in nodes if node.op == "call_function"}


@pytest.mark.parametrize("codes", [3, 700, 1000])  # below and above the size that is cut in blocks
def test_the_graph_has_no_operation_of_ours_and_takes_any_number_of_tokens(
    codes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(codes)
    codebook = torch.randn(codes, 5, generator=generator) + 40
    tokens = torch.randn(300, 5, generator=generator) + 40
    search, rows = Search(codebook), {"tokens": {0: torch.export.Dim("rows")}}
    plain = torch.export.export(search, (tokens[:7],), dynamic_shapes=rows)
    assert "ssltok" in operations(plain)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    program = torch.export.export(search, (tokens[:7],), dynamic_shapes=rows)
    assert "ssltok" not in operations(program)
    distances = (tokens.double()[:, None] - codebook.double()).square().sum(dim=2)
    assert torch.equal(program.module()(tokens), distances.argmin(dim=1))


def test_a_quantizer_encodes_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)

    class Encode(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.quantizer = VectorQuantizer(4, 9, channel_dim=1)

        def forward(self, latents: Tensor) -> Tensor:
            codes: Tensor = self.quantizer.encode(latents)
            return codes

    torch.manual_seed(0)
    encode, latents = Encode().eval(), torch.randn(6, 4, 5)
    batch = {"latents": {0: torch.export.Dim("batch")}}
    program = torch.export.export(encode, (latents[:2],), dynamic_shapes=batch)
    assert torch.equal(program.module()(latents), encode(latents))
