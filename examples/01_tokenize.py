"""The three acts by hand: two loops of a few lines with a plain optimizer, then new series.

    python examples/01_tokenize.py --steps 200

GunPoint, 50 motions of 150 samples, ships inside sktime. Nothing here is hidden in an estimator:
swap the loss, the optimizer or a part of the tokenizer where you see it.
"""

import argparse

import torch

from ssltok.augment import NC_VQVAE_WARP
from ssltok.data import label_index, load_dataset, read_series
from ssltok.masking import cosine_schedule, schedule_mask
from ssltok.nn import average_max_pool
from ssltok.pipelines import (
    PriorBatch,
    TokenFeatures,
    TokenizerBatch,
    build_decoding,
    build_prior,
    build_tokenizer,
    demo,
    generate,
    prior_step,
    tokenizer_step,
)
from ssltok.training import BarlowTwins

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps of each act")
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    config, found = demo(), load_dataset("GunPoint")
    data, held = read_series(found.train), read_series(found.test)
    labels, classes = label_index(found.train_labels, len(data.values))

    tokenizer = build_tokenizer(config.tokenizer, channels=1, length=data.values.shape[-1])
    tokenizer.fit_scale(data)
    data = tokenizer.scaled(data)
    features = TokenFeatures(tokenizer, pool=average_max_pool)
    objective = BarlowTwins(features, divide_by_dim=True)  # as NC-VQVAE weighs it
    branch = tokenizer.parts[0]  # the only one: it reads all frequencies
    branch.quantizer.initialize(branch.encoder(tokenizer.bands(data.values)[0]).detach())

    # Act 1: series become tokens, and two views of a series agree.
    optimizer = torch.optim.AdamW([*tokenizer.parameters(), *objective.parameters()], lr=1e-3)
    for step in range(steps):
        some = data.take(torch.randperm(len(labels))[:BATCH])
        view = NC_VQVAE_WARP(some.values)
        batch = TokenizerBatch(some.values, (view,), some.valid, some.lengths)
        out = tokenizer_step(tokenizer, batch, objective=objective, view_weight=0.1)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        branch.update(out.latents[0], out.codes[0])  # the codebook moves here
        if step % max(steps // 4, 1) == 0:
            print(f"tokenizer {step:4}:", *(f"{k} {v:.3f}" for k, v in out.logged.items()))

    # Act 2: the tokenizer is frozen; hidden tokens are guessed from visible ones.
    tokenizer.eval().requires_grad_(False)
    codes = tokenizer.encode(data.values, data.lengths)
    prior = build_prior(
        config.prior, tokenizer, classes=len(classes), codebooks=[branch.quantizer.codebook]
    )
    optimizer = torch.optim.AdamW(prior.parameters(), lr=1e-3)
    for step in range(steps):
        rows = torch.randperm(len(labels))[:BATCH]
        masks = schedule_mask((BATCH, codes.shape[1]), schedule=cosine_schedule)
        shown = labels[rows].masked_fill(torch.rand(BATCH) < config.prior.label_dropout, -1)
        result = prior_step(prior, PriorBatch(codes[rows], masks, shown))
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        if step % max(steps // 4, 1) == 0:
            print(f"prior {step:8}: loss {result.loss:.3f}")

    # Act 3: from nothing but masks to new series, two of each class.
    wanted = torch.arange(len(classes)).repeat_interleave(2)
    new = generate(
        tokenizer,
        prior,
        labels=wanted,
        lengths=torch.full_like(wanted, tokenizer.length),
        decoding=build_decoding(config.decoding, tokenizer),
        generator=torch.Generator().manual_seed(0),
    )
    unseen = tokenizer.scaled(held).values
    rebuilt = tokenizer.decode(tokenizer.encode(unseen, held.lengths))
    error = (rebuilt - unseen).square().mean()
    size = config.tokenizer.codebook_size
    print(f"{codes.shape[1]} tokens a series, {len(codes.unique())} of {size} codes in use")
    print(f"squared error on unseen series: {error:.3f}, where always the mean would have 1")
    for number, series in zip(wanted.tolist(), new.series[:, 0], strict=True):
        peak = f"{series.max():.2f} at sample {series.argmax()}"
        print(f"new series of class {classes[number]}: highest value {peak}")


if __name__ == "__main__":
    main()
