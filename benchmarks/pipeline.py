"""The pipeline's three acts against a naive transcription of TimeVQVAE's published procedure.

    python benchmarks/pipeline.py                # length 128, one thread
    python benchmarks/pipeline.py --threads 2    # the same on two threads
    python benchmarks/pipeline.py --long         # length 500
    python benchmarks/pipeline.py --quick        # few rounds
    python benchmarks/pipeline.py --engine --old OLD    # what the engine costs in a step, alone

A stage-1 step, a stage-2 step (batch 32, one channel) and 64 samples. The transcription was
written from a description of the procedure, not copied. It uses the same encoders, decoders,
transformers and embeddings as ours, with equal weights; what differs is the procedure around
them, and the operations that compute the same function. See `Naive` for what that is.

Before anything is timed, both sides are checked against each other on equal weights and inputs.
"""

import argparse
import copy
import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from engine import report
from side_by_side import machine, side_by_side, table
from torch import Tensor, nn
from torch.nn import functional

from ssltok.masking import cosine_schedule, schedule_mask
from ssltok.nn import (
    Attention,
    ContextEmbedding,
    SpectrogramDecoder,
    SpectrogramEncoder,
    TokenTransformer,
)
from ssltok.pipelines import (
    Config,
    Prior,
    PriorBatch,
    PriorConfig,
    Tokenizer,
    TokenizerBatch,
    TokenizerConfig,
    build_decoding,
    build_prior,
    build_tokenizer,
    generate,
    prior_step,
    timevqvae,
    tokenizer_step,
)
from ssltok.training import keyed_generator, ordered_batch

CASES, BATCH, SAMPLES, CLASSES = 256, 32, 64, 2


class Case(NamedTuple):
    """A configuration, and whether the published side pads bands to all bins or cuts them."""

    title: str
    config: Config
    padded: bool


def cases() -> list[Case]:
    """The 2023 paper's sizes with both codebooks, and those of the later code (1.0)."""
    paper = timevqvae()
    large = dataclasses.replace(paper.tokenizer, codebook_size=1024)
    later = dataclasses.replace(large, n_fft=4, hop=1)
    small = PriorConfig(dim=128, depth=4, heads=2, high_dim=32, high_depth=1, high_heads=1)
    return [
        Case("paper, 32 codes", paper, padded=True),
        Case("paper, 1024 codes", dataclasses.replace(paper, tokenizer=large), padded=True),
        Case(
            "later code, 1024 codes",
            dataclasses.replace(paper, tokenizer=later, prior=small),
            padded=False,
        ),
    ]


def plain(coder: nn.Module, maps: Tensor) -> Tensor:
    """A coder's layers on maps in torch's ordinary memory order; ours puts the channels last."""
    assert isinstance(coder, (SpectrogramEncoder, SpectrogramDecoder))
    made: Tensor = coder.layers(maps.contiguous())
    return made


def with_torch_layers(coder: nn.Module) -> nn.Module:
    """The same weights in torch's own convolutions."""
    for part in coder.modules():
        for own in (nn.Conv2d, nn.ConvTranspose2d):
            if isinstance(part, own):
                part.__class__ = own
    return coder


class NaiveQuantizer(nn.Module):
    """Full distance matrix, one-hot codes, and an update by moving averages inside `forward`."""

    embed: Tensor
    size: Tensor
    total: Tensor

    def __init__(self, codebook: Tensor, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("embed", codebook.clone())
        self.register_buffer("size", torch.ones(len(codebook)))
        self.register_buffer("total", codebook.clone())

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return vectors, codes, commitment and perplexity of `(batch, dim, freq, frames)`."""
        batch, dim, freq, frames = latents.shape
        tokens = latents.permute(0, 2, 3, 1).reshape(-1, dim)
        with torch.no_grad():
            distance = (
                tokens.square().sum(dim=1, keepdim=True)
                - 2 * tokens @ self.embed.t()
                + self.embed.t().square().sum(dim=0, keepdim=True)
            )
            codes = distance.min(dim=1).indices
            one_hot = functional.one_hot(codes, len(self.embed)).to(tokens.dtype)
            chosen = functional.embedding(codes, self.embed)
            if self.training:
                self.size.mul_(self.decay).add_(one_hot.sum(dim=0), alpha=1 - self.decay)
                self.total.mul_(self.decay).add_(one_hot.t() @ tokens, alpha=1 - self.decay)
                count = self.size.sum()
                smooth = (self.size + 1e-5) / (count + len(self.embed) * 1e-5) * count
                self.embed.copy_(self.total / smooth[:, None])
            share = one_hot.mean(dim=0)
            perplexity = torch.exp(-(share * torch.log(share + 1e-10)).sum())
        commitment = functional.mse_loss(chosen, tokens)
        passed = tokens + (chosen - tokens).detach()
        vectors = passed.reshape(batch, freq, frames, dim).permute(0, 3, 1, 2)
        return vectors, codes.reshape(batch, freq * frames), commitment, perplexity


class NaiveNorm(nn.Module):
    """RMS norm as x-transformers writes it: unit vectors, scaled."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        assert isinstance(norm, nn.RMSNorm)
        assert norm.weight is not None
        self.weight = nn.Parameter(norm.weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Norm `(batch, tokens, dim)`."""
        scaled: Tensor = functional.normalize(x, dim=-1) * x.shape[-1] ** 0.5 * self.weight
        return scaled


class NaiveAttention(nn.Module):
    """Attention as x-transformers computes it by default: all weights, softmax, product."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads = attention.heads
        self.weights = nn.ParameterList(
            nn.Parameter(w.detach().clone()) for w in attention.inward.weight.chunk(3)
        )
        self.outward = attention.outward

    def forward(self, x: Tensor, *, allowed: None, causal: bool, rotation: None) -> Tensor:
        """Mix `(batch, tokens, dim)`; the prior passes neither masks nor rotation."""
        assert allowed is rotation is None
        assert not causal
        query, key, value = (
            functional.linear(x, weight).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for weight in self.weights
        )
        scores = torch.einsum("bhid,bhjd->bhij", query, key) * query.shape[-1] ** -0.5
        mixed = torch.einsum("bhij,bhjd->bhid", scores.softmax(dim=-1), value)
        out: Tensor = self.outward(mixed.transpose(1, 2).flatten(2))
        return out


def as_published(transformer: TokenTransformer) -> TokenTransformer:
    """The same function and weights in the published code's operations."""
    for layer in transformer.trunk.layers:
        layer.attention_norm = NaiveNorm(layer.get_submodule("attention_norm"))
        layer.mlp_norm = NaiveNorm(layer.get_submodule("mlp_norm"))
        attention = layer.get_submodule("attention")
        assert isinstance(attention, Attention)
        layer.attention = NaiveAttention(attention)
    transformer.trunk.last_norm = NaiveNorm(transformer.trunk.last_norm)
    return transformer


class Naive(nn.Module):
    """The published procedure, on copies of our layers and weights.

    Stage 1 calls `torch.stft` three times (each encoder's input, and the targets) and the
    inverse four times, and quantises by one-hot matrices; maps lie in memory as torch makes
    them (ours have the channels last); padded, both coders work on all bins. Stage 2 encodes
    each batch anew with the frozen encoders, draws masks row by row, and computes the logits of
    all tokens; attention and norms are written out, as x-transformers does by default. Sampling
    takes 10 steps a branch: logits, softmax and a `Categorical` of all tokens, the low tokens'
    context anew in each step, masks row by row.
    """

    def __init__(
        self, tokenizer: Tokenizer, prior: Prior, *, config: TokenizerConfig, padded: bool
    ) -> None:
        super().__init__()
        self.config, self.length, self.padded = config, tokenizer.length, padded
        self.bins, self.codes = config.n_fft // 2 + 1, config.codebook_size
        self.parts = [(0, config.edge), (config.edge, self.bins)]
        self.encoders, self.decoders = nn.ModuleList(), nn.ModuleList()
        self.quantizers, self.priors = nn.ModuleList(), nn.ModuleList()
        self.grids: list[tuple[int, int]] = []
        frames = tokenizer.transform.shape(0, 1)[-1]
        for number, (branch, width) in enumerate(zip(tokenizer.parts, config.widths, strict=True)):
            first, end = self.parts[number]
            sizes = {
                "bins": self.bins if padded else end - first,
                "frames": frames,
                "width": width,
                "blocks": config.blocks,
            }
            encoder = SpectrogramEncoder(2, config.dim, **sizes)
            decoder = SpectrogramDecoder(2, config.dim, **sizes)
            encoder.load_state_dict(branch.encoder.state_dict())
            decoder.load_state_dict(branch.decoder.state_dict())
            self.encoders.append(with_torch_layers(encoder))
            self.decoders.append(with_torch_layers(decoder))
            self.quantizers.append(NaiveQuantizer(branch.quantizer.codebook, config.decay))
            self.grids.append(encoder.grid)
        self.sizes = [freq * frames for freq, frames in self.grids]
        for number, size in enumerate(self.sizes):
            transformer = as_published(copy.deepcopy(prior.transformer(number)))
            if padded:  # more tokens: more positions, and the context over the flattened tokens
                dim = transformer.embedding.dim
                transformer.tokens = size
                transformer.positions = nn.Parameter(0.02 * torch.randn(size, dim))
                if isinstance(transformer.context, ContextEmbedding):
                    transformer.context.grid = (1, self.sizes[0])
                    transformer.context.onto = (1, size)
            self.priors.append(transformer)

    def spectrogram(self, series: Tensor) -> Tensor:
        """All bins of `(batch, 1, length)`, `(batch, 2, bins, frames)`."""
        window = torch.hann_window(self.config.n_fft, device=series.device)
        found = torch.stft(
            series[:, 0],
            self.config.n_fft,
            self.config.hop,
            window=window,
            normalized=True,
            return_complex=True,
        )
        return torch.view_as_real(found).permute(0, 3, 1, 2)

    def only(self, spectrogram: Tensor, number: int) -> Tensor:
        """The spectrogram with all other bins at zero."""
        first, end = self.parts[number]
        kept = torch.zeros_like(spectrogram)
        kept[:, :, first:end] = spectrogram[:, :, first:end]
        return kept

    def wave(self, spectrogram: Tensor) -> Tensor:
        """The series of a spectrogram of all bins, `(batch, length)`."""
        pairs = torch.view_as_complex(spectrogram.permute(0, 2, 3, 1).contiguous())
        window = torch.hann_window(self.config.n_fft, device=pairs.device)
        return torch.istft(
            pairs,
            self.config.n_fft,
            self.config.hop,
            window=window,
            normalized=True,
            length=self.length,
        )

    def latents(self, series: Tensor, number: int) -> Tensor:
        """What a branch's encoder makes of series."""
        first, end = self.parts[number]
        band = self.only(self.spectrogram(series), number)
        return plain(self.encoders[number], band if self.padded else band[:, :, first:end])

    def rebuild(self, vectors: Tensor, number: int) -> Tensor:
        """A branch's decoded spectrogram among zeros."""
        first, end = self.parts[number]
        decoded = plain(self.decoders[number], vectors)
        if self.padded:
            return self.only(decoded, number)
        return functional.pad(decoded, (0, 0, first, self.bins - end))

    def stage_one(self, series: Tensor) -> Tensor:
        """The loss of stage 1 of scaled series `(batch, 1, length)`."""
        truth = self.spectrogram(series)
        loss = series.new_zeros(())
        for number, (first, end) in enumerate(self.parts):
            vectors, _, commitment, _ = self.quantizers[number](self.latents(series, number))
            target, rebuilt = self.only(truth, number), self.rebuild(vectors, number)
            wave, other = self.wave(target), self.wave(rebuilt)
            own = functional.l1_loss if number else functional.mse_loss
            kept = slice(None) if self.padded else slice(first, end)
            loss = loss + own(other, wave) + commitment
            loss = loss + functional.mse_loss(rebuilt[:, :, kept], target[:, :, kept])
        return loss

    @torch.no_grad()
    def encode(self, series: Tensor) -> list[Tensor]:
        """Codes of each branch; the frozen encoders and quantizers run anew."""
        return [self.quantizers[n](self.latents(series, n))[1] for n in range(len(self.parts))]

    def masks(self, batch: int, rng: np.random.Generator) -> list[Tensor]:
        """Training masks of each branch, drawn row by row."""
        made = []
        for size in self.sizes:
            mask = torch.zeros(batch, size, dtype=torch.bool)
            for row in range(batch):
                count = max(1, math.floor(math.cos(math.pi / 2 * rng.uniform()) * size))
                mask[row, torch.from_numpy(rng.permutation(size)[:count])] = True
            made.append(mask)
        return made

    def transformer(self, number: int) -> TokenTransformer:
        """A branch's prior."""
        part = self.priors[number]
        assert isinstance(part, TokenTransformer)
        return part

    def logits(self, tokens: Tensor, number: int, labels: Tensor, low: Tensor | None) -> Tensor:
        """Logits of all tokens, `(batch, tokens, codes)`; the context is computed each time."""
        transformer = self.transformer(number)
        context = None if low is None else transformer.embed_context(low)
        everywhere = torch.ones_like(tokens, dtype=torch.bool)
        flat: Tensor = transformer(tokens, everywhere, labels, context=context)
        return flat.reshape(*tokens.shape, self.codes)

    def stage_two(self, codes: list[Tensor], masks: list[Tensor], labels: Tensor) -> Tensor:
        """Cross-entropy of the masked tokens, from the logits of all."""
        loss = torch.zeros(())
        for number, (own, mask) in enumerate(zip(codes, masks, strict=True)):
            hidden = torch.where(mask, torch.full_like(own, self.codes), own)
            logits = self.logits(hidden, number, labels, codes[0] if number else None)
            loss = loss + functional.cross_entropy(logits[mask], own[mask])
        return loss

    @torch.no_grad()
    def decode_tokens(
        self, labels: Tensor, *, noise: float, steps: int, rng: np.random.Generator
    ) -> list[Tensor]:
        """New tokens of each branch."""
        filled: list[Tensor] = []
        for number, size in enumerate(self.sizes):
            tokens = torch.full((len(labels), size), self.codes, device=labels.device)
            for step in range(steps):
                logits = self.logits(tokens, number, labels, filled[0] if number else None)
                drawn = torch.distributions.Categorical(logits=logits).sample()
                unknown = tokens == self.codes
                drawn = torch.where(unknown, drawn, tokens)
                ratio = (step + 1) / steps
                count = math.floor(size * math.cos(math.pi / 2 * ratio)) if ratio < 1 else 0
                probability = torch.softmax(logits, dim=-1)
                chosen = torch.gather(probability, -1, drawn[..., None])[..., 0]
                chosen = torch.where(unknown, chosen, torch.full_like(chosen, torch.inf))
                gumbel = torch.from_numpy(rng.gumbel(size=tuple(chosen.shape))).to(chosen)
                confidence = torch.log(chosen + 1e-5) + noise * (1 - ratio) * gumbel
                mask = torch.zeros_like(unknown)
                for row in range(len(labels)):
                    lowest = torch.topk(confidence[row], count, largest=False).indices
                    mask[row, lowest] = True
                tokens = torch.where(mask, torch.full_like(drawn, self.codes), drawn)
            filled.append(tokens)
        return filled

    @torch.no_grad()
    def sample(
        self, labels: Tensor, *, noise: float, steps: int, rng: np.random.Generator
    ) -> Tensor:
        """New series, `(batch, length)`."""
        series = torch.zeros(len(labels), self.length, device=labels.device)
        made = self.decode_tokens(labels, noise=noise, steps=steps, rng=rng)
        for number, codes in enumerate(made):
            quantizer = self.quantizers[number]
            assert isinstance(quantizer, NaiveQuantizer)
            vectors = functional.embedding(codes, quantizer.embed)
            grid = vectors.reshape(len(labels), *self.grids[number], -1).permute(0, 3, 1, 2)
            series = series + self.wave(self.rebuild(grid, number))
        return series


def toy_series(length: int) -> Tensor:
    """Waves of random frequency with noise, each of mean 0 and variance 1, `(cases, 1, length)`."""
    generator = torch.Generator().manual_seed(0)
    times = torch.linspace(0, 1, length)
    speed = 2 + 10 * torch.rand(CASES, 1, generator=generator)
    series = torch.sin(6.283 * speed * times) + 0.3 * torch.randn(
        CASES, length, generator=generator
    )
    series = series - series.mean(dim=1, keepdim=True)
    return (series / series.std(dim=1, keepdim=True))[:, None]


def build(case: Case, series: Tensor) -> tuple[Tokenizer, Prior]:
    """Our side, its codebooks among the latents; built on the CPU, whatever the device."""
    torch.manual_seed(0)
    device, series = series.device, series.cpu()
    tokenizer = build_tokenizer(case.config.tokenizer, channels=1, length=series.shape[-1])
    with torch.no_grad():
        for branch, band in zip(tokenizer.parts, tokenizer.bands(series), strict=True):
            generator = keyed_generator(0, "kmeans")
            branch.quantizer.initialize(branch.encoder(band), generator=generator)
    codebooks = [branch.quantizer.codebook for branch in tokenizer.parts]
    prior = build_prior(case.config.prior, tokenizer, classes=CLASSES, codebooks=codebooks)
    return tokenizer.to(device), prior.to(device)


def sizes(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())


def new_masks(codes: Tensor, parts: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Our training masks, branch by branch."""
    return torch.cat(
        [
            schedule_mask((len(codes), size), schedule=cosine_schedule, generator=generator)
            for size in parts
        ],
        dim=1,
    )


def whole(series: Tensor) -> TokenizerBatch:
    """Series of which everything is real, without a view."""
    valid = torch.ones_like(series, dtype=torch.bool)
    lengths = torch.full((len(series),), series.shape[-1], device=series.device)
    return TokenizerBatch(series, (), valid, lengths)


def encoded(tokenizer: Tokenizer, series: Tensor) -> Tensor:
    """Our codes."""
    tokenizer.eval()
    with torch.no_grad():
        return tokenizer.encode(series, whole(series).lengths)


def same(name: str, ours: float, theirs: float) -> None:
    """Say both numbers; stop if they differ by more than 1e-4, absolutely and relatively."""
    print(f"- {name}: ours {ours:.6f}, transcription {theirs:.6f}")
    if not abs(ours - theirs) <= 1e-4 * max(1.0, abs(ours)):
        raise SystemExit(f"pipeline: both sides must compute one {name}; got the above")


def compare(case: Case, series: Tensor) -> None:
    """Equal weights and inputs give equal losses and codes; nothing stays masked."""
    print(f"\n### {case.title}: both sides on equal weights\n")
    tokenizer, prior = build(case, series)
    cut = Naive(tokenizer, prior, config=case.config.tokenizer, padded=False)
    published = Naive(tokenizer, prior, config=case.config.tokenizer, padded=case.padded)
    for name, mine, parts in (
        ("stage 1", sizes(tokenizer), [published.encoders, published.decoders]),
        ("stage 2", sizes(prior), [published.priors]),
    ):
        theirs = sum(sizes(part) for part in parts)
        print(f"- parameters of {name}: ours {mine}, transcription {theirs}")
        if abs(mine - theirs) > 0.02 * mine:
            raise SystemExit("pipeline: both sides must have equally many parameters")
    print(f"- tokens: ours {tokenizer.sizes}, transcription {tuple(published.sizes)}")
    some, labels = series[:BATCH], torch.arange(BATCH) % CLASSES
    one = tokenizer_step(tokenizer, whole(some)).loss
    same("stage-1 loss (bands cut)", one.item(), cut.stage_one(some).item())
    tokenizer, prior = build(case, series)  # BatchNorm's statistics and codebooks as they were
    cut = Naive(tokenizer, prior, config=case.config.tokenizer, padded=False)
    codes = encoded(tokenizer, some)
    agree = (torch.cat(cut.eval().encode(some), dim=1) == codes).float().mean().item()
    print(f"- codes that agree: {agree:.5f}")
    if agree < 0.999:
        raise SystemExit("pipeline: both sides must find the same codes")
    masks = new_masks(codes, tokenizer.sizes, torch.Generator().manual_seed(0))
    two = prior_step(prior.eval(), PriorBatch(codes, masks, labels)).loss
    split, apart = codes.split(cut.sizes, dim=1), masks.split(cut.sizes, dim=1)
    again = cut.stage_two(list(split), list(apart), labels)
    same("stage-2 loss (bands cut, equal masks)", two.item(), again.item())
    ours_series = tokenizer.decode(codes)[:, 0]
    rebuilt = torch.zeros_like(ours_series)
    for number, part in enumerate(split):
        quantizer = tokenizer.parts[number].quantizer
        vectors = quantizer.decode(part.reshape(-1, *cut.grids[number]))
        rebuilt = rebuilt + cut.wave(cut.rebuild(vectors, number))
    same(
        "mean size of decoded series", ours_series.abs().mean().item(), rebuilt.abs().mean().item()
    )
    if not torch.allclose(ours_series, rebuilt, atol=1e-4):
        raise SystemExit("pipeline: both sides must decode to the same series")
    rng = np.random.default_rng(0)
    made = published.eval().decode_tokens(labels, noise=4.0, steps=10, rng=rng)
    if any(int(m.max()) >= published.codes or int(m.min()) < 0 for m in made):
        raise SystemExit("pipeline: the transcription must fill every token")
    print("- the transcription fills every token")


def our_acts(case: Case, series: Tensor, *, samples: int = SAMPLES) -> list[Callable[[], object]]:
    """A stage-1 step, a stage-2 step, and samples, as the pipeline makes them."""
    tokenizer, prior = build(case, series)
    device = series.device
    codes, labels = encoded(tokenizer, series), torch.arange(CASES, device=device) % CLASSES
    everything, config = whole(series), case.config
    rules = build_decoding(config.decoding, tokenizer)
    one = torch.optim.AdamW(tokenizer.parameters(), lr=1e-3, weight_decay=1e-5, fused=True)
    two = torch.optim.AdamW(prior.parameters(), lr=1e-3, weight_decay=1e-5, fused=True)
    numbers = iter(range(1_000_000))
    generator = torch.Generator(device).manual_seed(0)

    def stage_one() -> None:
        if not tokenizer.training:
            tokenizer.train()
        step = next(numbers)
        chosen = ordered_batch(CASES, BATCH, seed=0, purpose="tokenizer-order", step=step)
        parts = everything.series[chosen], (), everything.valid[chosen], everything.lengths[chosen]
        result = tokenizer_step(tokenizer, TokenizerBatch(*parts))
        result.loss.backward()
        one.step()
        one.zero_grad()
        for branch, latents, own in zip(tokenizer.parts, result.latents, result.codes, strict=True):
            branch.quantizer.update(latents, own)

    def stage_two() -> None:
        if not prior.training:
            prior.train()
        step = next(numbers)
        chosen = ordered_batch(CASES, BATCH, seed=0, purpose="prior-order", step=step)
        source = keyed_generator(0, "mask", step)
        masks = new_masks(codes[chosen], tokenizer.sizes, source).to(device)
        dropped = (torch.rand(BATCH, generator=source) < config.prior.label_dropout).to(device)
        batch = PriorBatch(codes[chosen], masks, labels[chosen].masked_fill(dropped, -1))
        prior_step(prior, batch).loss.backward()
        two.step()
        two.zero_grad()

    def sample() -> Tensor:
        return generate(
            tokenizer,
            prior,
            labels=torch.arange(samples, device=device) % CLASSES,
            lengths=torch.full((samples,), series.shape[-1], device=device),
            decoding=rules,
            generator=generator,
        ).series

    return [stage_one, stage_two, sample]


def published_acts(
    case: Case, series: Tensor, *, padded: bool, samples: int = SAMPLES
) -> list[Callable[[], object]]:
    """The same three as published. Neither side clips gradients, as the preset says."""
    device = series.device
    naive = Naive(*build(case, series), config=case.config.tokenizer, padded=padded).to(device)
    labels = torch.arange(CASES, device=device) % CLASSES
    stages = [naive.encoders, naive.decoders], [naive.priors]
    one, two = (
        torch.optim.AdamW([p for m in s for p in m.parameters()], lr=1e-3, weight_decay=1e-5)
        for s in stages
    )
    rng = np.random.default_rng(0)
    decoding, dropout = case.config.decoding, case.config.prior.label_dropout

    def rows() -> Iterator[Tensor]:
        while True:
            yield from torch.from_numpy(rng.permutation(CASES)).split(BATCH)

    order = rows()

    def stage_one() -> None:
        if not naive.training:
            naive.train()
        naive.stage_one(series[next(order)]).backward()
        one.step()
        one.zero_grad()

    def stage_two() -> None:
        if not naive.priors.training or naive.encoders.training:
            naive.eval()
            naive.priors.train()
        chosen = next(order)
        codes = naive.encode(series[chosen])
        masks = [mask.to(device) for mask in naive.masks(BATCH, rng)]
        own = labels[chosen].masked_fill((torch.rand(BATCH) < dropout).to(device), -1)
        naive.stage_two(codes, masks, own).backward()
        two.step()
        two.zero_grad()

    def sample() -> Tensor:
        naive.eval()
        chosen = torch.arange(samples, device=device) % CLASSES
        noise = decoding.order_temperature
        return naive.sample(chosen, noise=noise, steps=decoding.steps, rng=rng)

    return [stage_one, stage_two, sample]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--long", action="store_true", help="length 500 in place of 128")
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument(
        "--same-tokens", action="store_true", help="the published side on our tokens, too"
    )
    parser.add_argument("--only", default="", help="cases whose title contains this")
    parser.add_argument("--engine", action="store_true", help="the engine's overhead alone")
    parser.add_argument("--old", type=pathlib.Path, help="a checkout to measure it of as well")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.engine:
        print(report(options.old, rounds=1 if options.quick else 3) + f"\n\n{machine()}")
        return
    series = toy_series(500 if options.long else 128)
    rounds = 3 if options.quick else options.rounds
    for case in [c for c in cases() if options.only in c.title]:
        compare(case, series)
        ours = our_acts(case, series)
        published = published_acts(case, series, padded=case.padded)
        cut = published_acts(case, series, padded=False)
        for number, act in enumerate(["stage-1 step", "stage-2 step", "64 samples"]):
            candidates = {"as published": published[number], "ssltok": ours[number]}
            title = f"{case.title}, length {series.shape[-1]}: {act}"
            timings = side_by_side(candidates, rounds=rounds, warmup=1)
            print("\n" + table(title, timings), flush=True)
            if case.padded and options.same_tokens:
                equal = {"as published, but with our tokens": cut[number], "ssltok": ours[number]}
                timings = side_by_side(equal, rounds=rounds, warmup=1)
                print("\n" + "\n".join(table("", timings).splitlines()[2:]), flush=True)
    print("\n### a step of the engine against a bare loop, one thread\n")
    print(report(options.old, rounds=1 if options.quick else 3))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
