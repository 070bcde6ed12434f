"""Adversarial: an autoencoder whose codes or whose pictures must pass for real ones.

    python examples/ssl/adversarial.py --method context_encoder --data GunPoint

`aae`: a discriminator compares codes with draws from a Gaussian. `vae`: the same aim by a formula
instead of a game. `context_encoder`: a gap in the series is filled in, and a discriminator
compares the filled series with real ones.
"""

import torch
from data import Data
from encoders import DIM, Coder, ConvEncoder
from loop import main
from recipe import Batch, Recipe
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ssltok.losses import discriminator_loss, gaussian_kl_loss, generator_loss
from ssltok.masking import span_mask
from ssltok.nn import PriorDiscriminator, Projector, VariationalBottleneck


def decoder_of(data: Data) -> nn.Module:
    """Map features back to a whole series."""
    back = Projector(DIM, hidden_dim=128, out_dim=data.channels * data.length, layers=2)
    return nn.Sequential(back, nn.Unflatten(1, (data.channels, data.length)))


class Critic:
    """A discriminator with an optimizer of its own: it learns before the loss asks it."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, betas=(0.5, 0.999))

    def learn(self, real: Tensor, fake: Tensor) -> None:
        """Take one step towards telling the two apart."""
        self.optimizer.zero_grad()
        discriminator_loss(self.network(real), self.network(fake.detach())).backward()
        self.optimizer.step()


def aae(data: Data, *, weight: float = 0.01) -> Recipe:
    encoder, decoder = ConvEncoder(data), decoder_of(data)
    coder = Coder(encoder, data)
    critic = Critic(PriorDiscriminator(DIM, hidden_dim=128))

    def loss_of(batch: Batch, step: int) -> Tensor:
        codes = coder(batch.series)
        critic.learn(torch.randn_like(codes), codes)
        rebuilt = mse_loss(decoder(codes), batch.series)
        return rebuilt + weight * generator_loss(critic.network(codes))

    return Recipe(encoder, nn.ModuleList([decoder, coder]), loss_of, steps=600)


def vae(data: Data) -> Recipe:
    encoder, decoder = ConvEncoder(data), decoder_of(data)
    coder = Coder(encoder, data)
    bottleneck = VariationalBottleneck(DIM, DIM)

    def loss_of(batch: Batch, step: int) -> Tensor:
        latents, mean, log_variance = bottleneck(coder(batch.series))
        rebuilt = mse_loss(decoder(latents), batch.series)
        return rebuilt + 0.001 * gaussian_kl_loss(mean, log_variance)

    return Recipe(encoder, nn.ModuleList([decoder, coder, bottleneck]), loss_of, steps=600)


def context_encoder(data: Data) -> Recipe:
    encoder, decoder = ConvEncoder(data), decoder_of(data)
    critic = Critic(nn.Sequential(ConvEncoder(data), nn.Linear(DIM, 1)))

    def loss_of(batch: Batch, step: int) -> Tensor:
        series = batch.series
        gap = span_mask(
            (len(series), data.length), ratio=0.4, length=data.length // 5, overlap=False
        )[:, None]
        filled = torch.where(gap, decoder(encoder(series.masked_fill(gap, 0))), series)
        critic.learn(series, filled)
        error = mse_loss(filled, series) / gap.float().mean()
        return 0.999 * error + 0.001 * generator_loss(critic.network(filled))

    return Recipe(encoder, decoder, loss_of, steps=600)


METHODS = {f.__name__: f for f in (aae, vae, context_encoder)}

if __name__ == "__main__":
    main(METHODS)
