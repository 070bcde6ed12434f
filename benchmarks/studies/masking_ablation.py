"""Does it matter which tokens are masked in training, and which are paid for?

    nice -n 10 python benchmarks/studies/masking_ablation.py                 # the page's table
    python benchmarks/studies/masking_ablation.py --seeds 1 --steps 20       # a look at the script

Four ways to train the same small prior on the same tokens of GunPoint and of cylinder-bell-funnel:
the cosine schedule as MaskGIT has it or inverted as in several public codes (the share that should
be masked stays visible), and the loss on the masked tokens or on all. Per seed, the four arms share
initial weights, batches and the random numbers of their masks.
"""

import argparse
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[2])

from benchmarks.side_by_side import machine

from ssltok.decoding import confidence_order, iterative_decode, temperature_sample
from ssltok.losses import masked_token_loss
from ssltok.masking import cosine_schedule, random_mask, schedule_mask
from ssltok.metrics import frechet_distance, token_divergence
from ssltok.nn import (
    SpectrogramDecoder,
    SpectrogramEncoder,
    TokenEmbedding,
    TokenTransformer,
    Transformer,
)
from ssltok.quantizers import EMAVectorQuantizer
from ssltok.signal import ISTFT, STFT

CODES, RATIOS, SAMPLES = 32, (0.1, 0.5, 0.9, 1.0), 256


class Codec(nn.Module):
    """A tokenizer in thirty lines: spectrogram, encoder, codebook, and back."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.stft, self.istft = STFT(n_fft=8, hop=2), ISTFT(n_fft=8, hop=2)
        sizes = {"bins": self.stft.bins, "frames": self.stft.frames(length), "width": 8}
        self.encoder = SpectrogramEncoder(2, 16, **sizes, blocks=1)
        self.decoder = SpectrogramDecoder(2, 16, **sizes, blocks=1)
        self.quantizer = EMAVectorQuantizer(16, CODES, decay=0.9, channel_dim=1)

    def encode(self, series: Tensor) -> Tensor:
        """Turn series `(batch, 1, length)` into codes `(batch, tokens)`."""
        return self.quantizer.encode(self.encoder(self.stft(series))).flatten(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Turn codes back into series."""
        vectors = self.quantizer.decode(codes.view(-1, *self.encoder.grid))
        return self.istft(self.decoder(vectors), self.length)


def gunpoint() -> tuple[Tensor, Tensor]:
    """GunPoint as it ships with sktime, both splits put together and split 160 to 40."""
    from sktime.datasets import load_gunpoint

    series = torch.tensor(load_gunpoint(return_type="numpy3d")[0], dtype=torch.float32)
    series = series[torch.randperm(len(series), generator=torch.Generator().manual_seed(0))]
    return series[:160], series[160:]


def cylinder_bell_funnel(count: int, generator: torch.Generator) -> Tensor:
    """Saito's three shapes of 128 samples: a plateau, a ramp up, a ramp down, in noise."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, generator=generator)

    start = uniform(16, 32).floor()
    width = uniform(32, 96).floor()
    time = torch.arange(128.0)
    inside = ((time >= start) & (time <= start + width)).float()
    ramp = (time - start) / width
    kind = torch.randint(3, (count, 1), generator=generator)
    shape = torch.where(kind == 0, 1.0, torch.where(kind == 1, ramp, 1 - ramp))
    height = 6 + torch.randn(count, 1, generator=generator)
    noise = torch.randn(count, 128, generator=generator)
    series = height * inside * shape + noise
    series = (series - series.mean(1, keepdim=True)) / series.std(1, keepdim=True)
    return series[:, None]


def train_codec(series: Tensor, *, steps: int) -> Codec:
    torch.manual_seed(0)
    codec = Codec(series.shape[-1])
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(codec.parameters(), lr=2e-3)
    for step in range(steps):
        batch = series[torch.randint(len(series), (64,), generator=generator)]
        latents = codec.encoder(codec.stft(batch))
        if step == 20:  # when the encoder has found its scale
            codec.quantizer.initialize(latents.detach(), generator=generator)
        quantized = codec.quantizer(latents)
        found = codec.istft(codec.decoder(quantized.vectors), codec.length)
        loss = functional.mse_loss(found, batch) + quantized.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        codec.quantizer.update(latents.detach(), quantized.codes)
    return codec.eval()


class Arm(NamedTuple):
    """One way to train: the share masked, and whether visible tokens are paid for too."""

    name: str
    schedule: Callable[[Tensor], Tensor]
    everywhere: bool


ARMS = [
    Arm("right schedule, loss on masked", cosine_schedule, False),
    Arm("right schedule, loss on all", cosine_schedule, True),
    Arm("inverted schedule, loss on masked", lambda r: 1 - cosine_schedule(r), False),
    Arm("inverted schedule, loss on all", lambda r: 1 - cosine_schedule(r), True),
]


def train_prior(arm: Arm, codes: Tensor, *, steps: int, seed: int) -> TokenTransformer:
    torch.manual_seed(seed)
    prior = TokenTransformer(
        TokenEmbedding(CODES, 48), Transformer(48, depth=2, heads=4, mlp_ratio=2),
        tokens=codes.shape[1],
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(prior.parameters(), lr=2e-3, weight_decay=0.01)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    for _ in range(steps):
        batch = codes[torch.randint(len(codes), (64,), generator=generator)]
        mask = schedule_mask(tuple(batch.shape), schedule=arm.schedule, generator=generator)
        paid = torch.ones_like(mask) if arm.everywhere else mask
        logits = prior(batch.masked_fill(mask, CODES), paid)
        loss = masked_token_loss(logits, batch, paid)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pace.step()
    return prior.eval()


def held_out(prior: TokenTransformer, codes: Tensor) -> list[float]:
    """Nats per masked token at fixed ratios, over eight fixed masks of every series."""
    many = codes.repeat(8, 1)
    found = []
    for ratio in RATIOS:
        generator = torch.Generator().manual_seed(123)
        mask = random_mask(tuple(many.shape), ratio=ratio, generator=generator).mask
        logits = prior(many.masked_fill(mask, CODES), mask)
        found.append(float(masked_token_loss(logits, many, mask)))
    return found


def pairs(codes: Tensor, grid: tuple[int, int]) -> Tensor:
    """Codes of two neighbouring frames as one."""
    rows = codes.view(-1, *grid)
    return rows[..., 1:] * CODES + rows[..., :-1]


def samples(prior: TokenTransformer, tokens: int, seed: int) -> Tensor:
    return iterative_decode(
        lambda s, where: prior(s, where),
        torch.full((SAMPLES, tokens), CODES),
        mask_index=CODES,
        steps=10,
        schedule=cosine_schedule,
        order=confidence_order(temperature=4.5),
        sample=temperature_sample(),
        generator=torch.Generator().manual_seed(seed),
    )


def compare(codec: Codec, real: Tensor, made: Tensor, axes: Tensor) -> list[float]:
    """Divergences of codes and of pairs, and a Frechet distance in eight principal axes."""
    grid = codec.encoder.grid
    seen, found = (codec.decode(x).flatten(1) @ axes for x in (real, made))
    return [
        float(token_divergence(real, made, codebook_size=CODES)),
        float(token_divergence(pairs(real, grid), pairs(made, grid), codebook_size=CODES**2)),
        float(frechet_distance(seen, found)),
    ]


HEAD = [*(f"NLL at {ratio:g}" for ratio in RATIOS), "KL codes", "KL pairs", "Fréchet"]


def row(name: str, values: list[list[float]]) -> str:
    cells = []
    for column in zip(*values, strict=True):
        spread = f" ± {statistics.stdev(column):.3f}" if len(column) > 1 else ""
        cells.append(f"{statistics.mean(column):.3f}{spread}")
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps of each model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    generator = torch.Generator().manual_seed(7)
    sets = {
        "GunPoint (160 training, 40 held out)": gunpoint(),
        "Cylinder-bell-funnel (512 training, 256 held out)": (
            cylinder_bell_funnel(512, generator),
            cylinder_bell_funnel(256, generator),
        ),
    }
    for name, (train, test) in sets.items():
        codec = train_codec(train, steps=options.steps)
        with torch.no_grad():
            codes, unseen = codec.encode(train), codec.encode(test)
            error = float(functional.mse_loss(codec.decode(unseen), test))
        axes = torch.linalg.svd(train.flatten(1) - train.flatten(1).mean(0)).Vh[:8].T
        print(f"### {name}\n")
        print(
            f"{codes.shape[1]} tokens, {len(codes.unique())} of {CODES} codes used, held-out "
            f"reconstruction error {error:.3f}, {options.seeds} seeds, mean ± standard deviation\n"
        )
        print("| training | " + " | ".join(HEAD) + " |")
        print("| --- |" + " --- |" * len(HEAD))
        results: dict[str, list[list[float]]] = {arm.name: [] for arm in ARMS}
        for seed in range(options.seeds):
            for arm in ARMS:
                prior = train_prior(arm, codes, steps=options.steps, seed=seed)
                with torch.no_grad():
                    made = samples(prior, codes.shape[1], seed)
                    values = held_out(prior, unseen) + compare(codec, unseen, made, axes)
                results[arm.name].append(values)
                print(f"seed {seed}, {arm.name}: {[round(v, 4) for v in values]}", file=sys.stderr)
        for arm in ARMS:
            print(row(arm.name, results[arm.name]))
        with torch.no_grad():
            floor = compare(codec, unseen, codes, axes)
        print(
            row(
                "*training series instead of samples*", [[float("nan")] * len(RATIOS) + floor]
            ).replace("nan", "n/a")
        )
        best = results[ARMS[0].name]
        for arm in ARMS[1:]:
            gaps = [
                [b - a for a, b in zip(mine, other, strict=True)]
                for mine, other in zip(best, results[arm.name], strict=True)
            ]
            print(row(f"{arm.name}, minus the first row, seed by seed", gaps))
        print(flush=True)
    print(f"{machine()}; {time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()
