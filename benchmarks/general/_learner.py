"""The codec with its objective: rebuild the series, and know its other view."""

from typing import NamedTuple

import torch
from benchmarks.general._views import Views
from torch import Tensor, nn

from ssltok.losses import nt_xent_loss
from ssltok.pipelines._general._codec import GeneralCodec
from ssltok.quantizers import Quantized

AGREE_WEIGHT, COMMITMENT_WEIGHT, TEMPERATURE = 0.1, 4.0, 0.2  # the quantizer has 0.25 itself


class Step(NamedTuple):
    """What a step gives: the loss, what is logged, and what the codebooks learn from."""

    loss: Tensor
    logged: dict[str, Tensor]
    latents: Tensor
    quantized: Quantized


class Learner(nn.Module):
    """The codec, and the projector of its objective."""

    def __init__(self, codec: GeneralCodec, *, hidden: int = 256, width: int = 128) -> None:
        super().__init__()
        self.codec = codec
        self.projector = nn.Sequential(
            nn.Linear(codec.summary.features, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, width),
        )

    def forward(self, views: Views) -> Step:
        r"""Return $\overline{\sqrt{e}} + \beta\,commit + w\,NTXent$.

        $e$ is the mean squared error of a frame over its observed samples, whose variance is 1;
        the root gives frames that are easy to rebuild a share in the gradient.
        """
        codec, (series, observed, patch) = self.codec, views
        with torch.autocast("cpu", torch.bfloat16):
            latents = codec.latents(series, observed, patch=patch).float()
        quantized = codec.quantizer(latents)
        with torch.autocast("cpu", torch.bfloat16):
            rebuilt = codec.series(quantized.vectors, length=series.shape[1], patch=patch).float()
        wrong = (rebuilt - series).square() * observed
        errors = wrong.sum(1) / observed.sum(1)
        rebuild = (errors + 1e-4).sqrt().mean()
        with torch.autocast("cpu", torch.bfloat16):
            pooled = codec.summarize(quantized.vectors)
            z_a, z_b = self.projector(pooled).float().chunk(2)
        agree = nt_xent_loss(z_a, z_b, temperature=TEMPERATURE)
        loss = rebuild + COMMITMENT_WEIGHT * quantized.loss + AGREE_WEIGHT * agree
        logged = {
            "error": errors.mean(),
            "rebuild": rebuild,
            "commit": quantized.loss,
            "agree": agree,
        }
        return Step(loss, {k: v.detach() for k, v in logged.items()}, latents, quantized)
