"""Contrast in time: not only which series, but which of its moments.

    python examples/ssl/contrast_in_time.py --method cpc --data GunPoint

`ts2vec`: two crops overlap; the steps that both show are alike, other steps and other series are
not, at every scale. `cpc`: what has been seen so far tells the next tokens of this series from
those of the other series.
"""

import torch
from data import Data
from encoders import DIM, ConvEncoder
from loop import main
from recipe import Batch, Recipe
from torch import Tensor, nn

from ssltok.augment import overlapping_crops
from ssltok.losses import hierarchical_contrastive_loss, temporal_contrastive_loss
from ssltok.nn import DilatedConvEncoder, max_pool

AHEAD = 3  # tokens that cpc predicts


class StepEncoder(nn.Module):
    """A vector for each step; of a series, the maximum over its steps."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.steps = DilatedConvEncoder(data.channels, DIM, hidden_dim=32, depth=3)

    def forward(self, series: Tensor) -> Tensor:
        """Map `(batch, channels, length)` to `(batch, 64)`."""
        return max_pool(self.steps(series), channel_dim=1)


def ts2vec(data: Data) -> Recipe:
    encoder = StepEncoder(data)

    def shared(crop: Tensor, overlap: slice) -> Tensor:
        hidden = torch.rand(crop.shape[0], crop.shape[2]) < 0.5
        return encoder.steps(crop, mask=hidden)[..., overlap].transpose(1, 2)

    def loss_of(batch: Batch, step: int) -> Tensor:
        crops = overlapping_crops(batch.series)
        return hierarchical_contrastive_loss(
            shared(crops.first, crops.first_overlap), shared(crops.second, crops.second_overlap)
        )

    return Recipe(encoder, nn.ModuleList(), loss_of, learning_rate=1e-3, steps=400)


def cpc(data: Data) -> Recipe:
    encoder, memory = ConvEncoder(data), nn.GRU(DIM, DIM, batch_first=True)
    ahead = nn.Linear(DIM, AHEAD * DIM)

    def loss_of(batch: Batch, step: int) -> Tensor:
        now = int(torch.randint(2, encoder.tokens.tokens(data.length) - AHEAD + 1, ()))
        cut = now * encoder.tokens.stride  # apart, lest a token of the past has read the future
        past, future = (
            encoder.tokens(part).transpose(1, 2)
            for part in (batch.series[..., :cut], batch.series[..., cut:])
        )
        pred = ahead(memory(past)[0][:, -1]).unflatten(1, (AHEAD, DIM))
        return temporal_contrastive_loss(pred, future[:, :AHEAD])

    return Recipe(encoder, nn.ModuleList([memory, ahead]), loss_of, learning_rate=1e-3, steps=600)


METHODS = {f.__name__: f for f in (ts2vec, cpc)}

if __name__ == "__main__":
    main(METHODS)
