"""Continue series as a stream: each token's samples at hand as soon as the token is drawn.

    python examples/09_stream.py --steps 300

Patches of GunPoint, from sktime, become tokens of a codebook; a causal prior learns them and then
continues unseen series of two classes from their first third, one token a call of the model, with
a key-value cache. On a CPU in under a minute.
"""

import argparse
from functools import partial

import torch
from torch.nn import functional

from ssltok.decoding import causal_decode, temperature_sample
from ssltok.nn import CausalTokenTransformer, TokenEmbedding, Transformer, patchify
from ssltok.quantizers import EMAVectorQuantizer

CODES, PATCH, KNOWN, SAMPLES = 64, 6, 8, 20


def main() -> None:
    """Learn from 160 series and continue the other 40; compare with the last value held."""
    from sktime.datasets import load_gunpoint

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    arrays, names = load_gunpoint(return_type="numpy3d")
    series = torch.tensor(arrays, dtype=torch.float32)
    labels = torch.tensor([int(name) - 1 for name in names])
    train, test = torch.randperm(len(series)).split([160, 40])

    quantizer = EMAVectorQuantizer(PATCH, CODES)
    patches = patchify(series, patch=PATCH)  # (batch, tokens, PATCH)
    quantizer.initialize(patches[train])
    for _ in range(20):
        quantizer.update(patches[train], quantizer.encode(patches[train]))
    codes = quantizer.encode(patches)
    tokens = codes.shape[1]

    trunk = Transformer(64, depth=2, heads=4, causal=True, dropout=0.2)
    prior = CausalTokenTransformer(TokenEmbedding(CODES, 64), trunk, tokens=tokens, classes=2)
    optimizer = torch.optim.AdamW(prior.parameters(), lr=2e-3)
    for _ in range(steps):
        batch = train[torch.randint(len(train), (32,))]
        logits = prior(codes[batch], labels[batch])
        optimizer.zero_grad()
        functional.cross_entropy(logits.flatten(0, 1), codes[batch].flatten()).backward()
        optimizer.step()
    prior.eval()
    with torch.no_grad():
        logits = prior(codes[test], labels[test])
    loss = float(functional.cross_entropy(logits.flatten(0, 1), codes[test].flatten()))
    print(f"{tokens} tokens a series; {loss / 0.6931:.2f} bits a token, 6 without a prior")

    prompt = codes[test, :KNOWN].repeat_interleave(SAMPLES, dim=0)
    stream = causal_decode(
        partial(prior.extend, labels=labels[test].repeat_interleave(SAMPLES)), prompt,
        codebook_size=CODES, steps=tokens - KNOWN, sample=temperature_sample(top_p=0.95),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    parts = []
    for place, drawn in enumerate(stream, start=KNOWN):
        samples = quantizer.decode(drawn.tokens)  # of one patch, ready to be shown
        parts.append(samples.view(len(test), SAMPLES, PATCH).median(dim=1).values)
        if place % 4 == 0:
            at = slice(place * PATCH, (place + 1) * PATCH)
            now, truth = parts[-1], series[test, 0, at]
            error = (now - truth).abs().mean()
            print(f"samples {at.start}-{at.stop - 1}: off by {error:.3f} on average")
    drawn_series, truth = torch.cat(parts, dim=1), series[test, 0, KNOWN * PATCH :]
    last = series[test, 0, KNOWN * PATCH - 1 : KNOWN * PATCH]
    error = (drawn_series - truth).square().mean().sqrt()
    held = (last - truth).square().mean().sqrt()
    print(f"typical error {error:.3f}; of holding the last value {held:.3f}")


if __name__ == "__main__":
    main()
