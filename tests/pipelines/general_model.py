"""A general tokenizer that has learned nothing, which what it promises does not need."""

import functools
import pathlib

import torch

from ssltok.pipelines._general._codec import GeneralCodec
from ssltok.pipelines._general._files import General, write_general
from ssltok.training import seeded

__all__ = ["codec", "folder"]


@functools.cache
def codec() -> GeneralCodec:
    """Small networks that are not at their start, and codebooks among cosine coefficients."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"hidden_dim": 12, "decoder_dim": 12, "widths": (4, 6)}
    with seeded(0):
        model = GeneralCodec(**sizes)  # type: ignore[arg-type]
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    falls = torch.linspace(0, 4, 32).neg().exp()
    for level, part in enumerate(model.quantizer.quantizers):
        noise = torch.randn(1024, 32, generator=generator)
        part.set_codebook(3 * falls * noise / 2**level)  # type: ignore[operator]
    return model.requires_grad_(False).eval()


def folder(where: pathlib.Path) -> pathlib.Path:
    """The model as a new folder."""
    about = {"name": "nobody-1", "licence": "MIT", "limits": ["it knows nothing"]}
    return write_general(General(codec(), about), where / "nobody-1")
