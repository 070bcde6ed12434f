"""Fill a gap, then continue a series: GunPoint from sktime, on a CPU in under a minute.

Tokens that saw a hidden sample are masked and drawn again; twenty draws give an interval.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

import ssltok.nn as parts
from ssltok import decoding
from ssltok.losses import masked_token_loss
from ssltok.masking import cosine_schedule, schedule_mask
from ssltok.quantizers import EMAVectorQuantizer
from ssltok.signal import ISTFT, STFT

CODES, SAMPLES = 32, 20


class Tokenizer(nn.Module):
    """Spectrogram, an encoder that sees little around each token, a codebook, and back."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.stft, self.istft = STFT(n_fft=8), ISTFT(n_fft=8)
        sizes = {"bins": self.stft.bins, "frames": self.stft.frames(length), "width": 19}
        self.encoder = parts.SpectrogramEncoder(2, 16, **sizes, blocks=0)
        self.decoder = parts.SpectrogramDecoder(2, 16, **sizes, blocks=0)
        self.quantizer = EMAVectorQuantizer(16, CODES, decay=0.9, channel_dim=1)

    def latents(self, series: Tensor) -> Tensor:
        """Turn `(batch, 1, length)` into what is quantised, `(batch, dim, freq, frames)`."""
        return self.encoder(self.stft(series))

    def decode(self, codes: Tensor) -> Tensor:
        """Turn `(batch, tokens)` back into series."""
        vectors = self.quantizer.decode(codes.view(-1, *self.encoder.grid))
        return self.istft(self.decoder(vectors), self.length)


def train(step: Callable[[Tensor], Tensor], module: nn.Module, data: Tensor, steps: int) -> None:
    """Let AdamW take `steps` steps on random batches of 32."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        step(data[torch.randint(len(data), (32,))]).backward()
        optimizer.step()
    module.eval()


def learn(series: Tensor, steps: int) -> tuple[Tokenizer, nn.Module]:
    """Train the tokenizer on series, then the prior on their tokens."""
    tokenizer = Tokenizer(series.shape[-1])
    tokenizer.quantizer.initialize(tokenizer.latents(series).detach())

    def tokenizer_step(batch: Tensor) -> Tensor:
        latents = tokenizer.latents(batch)
        quantized = tokenizer.quantizer(latents)
        tokenizer.quantizer.update(latents.detach(), quantized.codes)
        found = tokenizer.istft(tokenizer.decoder(quantized.vectors), tokenizer.length)
        return functional.mse_loss(found, batch) + quantized.loss

    train(tokenizer_step, tokenizer, series, steps)
    codes = tokenizer.quantizer.encode(tokenizer.latents(series)).flatten(1)
    trunk = parts.Transformer(32, depth=2, heads=2, mlp_ratio=2)
    prior = parts.TokenTransformer(parts.TokenEmbedding(CODES, 32), trunk, tokens=codes.shape[1])

    def prior_step(batch: Tensor) -> Tensor:
        mask = schedule_mask(tuple(batch.shape), schedule=cosine_schedule)
        return masked_token_loss(prior(batch.masked_fill(mask, CODES), mask), batch, mask)

    train(prior_step, prior, codes, steps)
    return tokenizer, prior


@torch.no_grad()
def fill(tokenizer: Tokenizer, prior: nn.Module, series: Tensor, hidden: Tensor) -> Tensor:
    """Draw `(samples, batch, 1, length)` without reading the samples at `hidden`, `(length,)`."""
    field = decoding.receptive_field(tokenizer.latents, channels=1, length=tokenizer.length)
    codes = tokenizer.quantizer.encode(tokenizer.latents(series.masked_fill(hidden, 0))).flatten(1)
    decode = partial(
        decoding.iterative_decode, prior, mask_index=CODES, steps=10, schedule=cosine_schedule,
        order=decoding.confidence_order(), sample=decoding.temperature_sample(),
    )  # fmt: skip
    where = decoding.token_mask(hidden.expand(len(series), -1), field)
    drawn = decoding.impute(decode, codes, where, mask_index=CODES, samples=SAMPLES)
    found = tokenizer.decode(drawn.flatten(0, 1)).view(SAMPLES, *series.shape)
    return torch.where(hidden, found, series)


def main() -> None:
    """Learn from 160 series and fill in the other 40; compare with the last value held."""
    from sktime.datasets import load_gunpoint

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    series = torch.tensor(load_gunpoint(return_type="numpy3d")[0], dtype=torch.float32)
    known, unseen = series[torch.randperm(len(series))].split([160, 40])
    tokenizer, prior = learn(known, steps)
    time = torch.arange(150)
    for name, hidden in {"gap 40-69": (time >= 40) & (time < 70), "forecast": time >= 120}.items():
        found = fill(tokenizer, prior, unseen, hidden)[..., hidden]
        truth, before = unseen[..., hidden], int(hidden.nonzero()[0]) - 1
        low, middle, high = found.quantile(torch.tensor([0.1, 0.5, 0.9]), dim=0)
        error = float((middle - truth).square().mean().sqrt())
        last = float((unseen[..., before : before + 1] - truth).square().mean().sqrt())
        inside = float(((truth >= low) & (truth <= high)).double().mean())
        print(f"{name}: typical error {error:.3f}; of holding the last value {last:.3f}")
        print(f"  {inside:.0%} of the hidden values lie in the band that should hold 80%")


if __name__ == "__main__":
    main()
