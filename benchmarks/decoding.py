"""64 samples by `iterative_decode` against a loop that follows TimeVQVAE's published procedure.

    python benchmarks/decoding.py            # times and two-sample tests
    python benchmarks/decoding.py --quick    # fewer rounds and samples

Both sides use the same prior modules with the same weights: a low-frequency prior of 8 tokens
(dim 128, depth 4) and a high-frequency prior of 64 tokens (dim 32, depth 1) that reads the low
ones, 1024 codes each, 10 steps each, as TimeVQVAE 1.0's README has them for series of length 128.
The loop below was written from the description of the procedure, not copied.
"""

import argparse
import math

import numpy as np
import torch
from scipy import stats
from side_by_side import machine, side_by_side, table
from torch import Tensor

from ssltok.decoding import confidence_order, iterative_decode, temperature_sample
from ssltok.masking import cosine_schedule
from ssltok.nn import ContextEmbedding, TokenEmbedding, TokenTransformer, Transformer

CODES, LOW, HIGH, STEPS, SAMPLES = 1024, 8, 64, 10, 64
NOISE = (10.0, 0.0)  # choice temperatures of the two stages


def priors(sharpness: float = 3.0) -> tuple[TokenTransformer, TokenTransformer]:
    """Random priors whose logits are far from uniform, so that a wrong draw would show."""
    torch.manual_seed(0)
    low = TokenTransformer(
        TokenEmbedding(CODES, 128), Transformer(128, depth=4, heads=2, mlp_ratio=1), tokens=LOW,
        classes=2,
    )  # fmt: skip
    context = ContextEmbedding(TokenEmbedding(CODES, 32), grid=(1, LOW), onto=(2, HIGH // 2))
    high = TokenTransformer(
        TokenEmbedding(CODES, 32), Transformer(32, depth=1, heads=1, mlp_ratio=1), tokens=HIGH,
        classes=2, context=context,
    )  # fmt: skip
    for prior, width in ((low, 128), (high, 32)):
        torch.nn.init.normal_(prior.embedding.table.weight)
        torch.nn.init.normal_(prior.head_weight, std=sharpness / math.sqrt(width))
        torch.nn.init.normal_(prior.head_bias)
    torch.nn.init.normal_(context.embedding.table.weight)
    return low.eval(), high.eval()


def published_stage(
    forward: object, tokens: int, noise: float, *, steps: int, batch: int, clamp: bool
) -> Tensor:
    """One stage: logits of every position, a Categorical over all, the choice row by row."""
    s = torch.full((batch, tokens), CODES)
    for t in range(steps):
        logits = forward(s)
        drawn = torch.distributions.categorical.Categorical(logits=logits).sample()
        unknown = s == CODES
        drawn = torch.where(unknown, drawn, s)
        ratio = (t + 1) / steps
        probs = torch.softmax(logits, dim=-1)
        chosen = torch.gather(probs, -1, drawn.unsqueeze(-1)).squeeze(-1)
        chosen = torch.where(unknown, chosen, torch.full_like(chosen, torch.inf))
        count = math.floor(tokens * math.cos(math.pi / 2 * ratio)) if t + 1 < steps else 0
        if clamp:
            count = max(0, min(count, int(unknown[0].sum()) - 1))
        gumbel = torch.from_numpy(np.random.gumbel(size=tuple(chosen.shape))).float()  # noqa: NPY002
        confidence = torch.log(chosen + 1e-5) + noise * (1 - ratio) * gumbel
        mask = torch.zeros_like(unknown)
        for row in range(batch):
            lowest = confidence[row].argsort()[:count]
            for place in lowest:
                mask[row, place] = True
        s = torch.where(mask, torch.full_like(drawn, CODES), drawn)
    return s


@torch.no_grad()
def published(
    low: TokenTransformer,
    high: TokenTransformer,
    labels: Tensor,
    *,
    both: bool,
    clamp: bool = False,
) -> Tensor:
    """Both stages; `both` adds the second, unconditional forward of the paper's low stage."""
    batch = len(labels)

    def everywhere(tokens: Tensor) -> Tensor:
        return torch.ones_like(tokens, dtype=torch.bool)

    def low_logits(s: Tensor) -> Tensor:
        logits = low(s, everywhere(s), labels).view(batch, LOW, CODES)
        if both:
            free = low(s, everywhere(s)).view(batch, LOW, CODES)
            logits = free + 1.0 * (logits - free)
        return logits

    def high_logits(s: Tensor) -> Tensor:
        context = high.embed_context(s_low)  # anew in every step
        return high(s, everywhere(s), labels, context=context).view(batch, HIGH, CODES)

    options = {"steps": STEPS, "batch": batch, "clamp": clamp}
    s_low = published_stage(low_logits, LOW, NOISE[0], **options)
    s_high = published_stage(high_logits, HIGH, NOISE[1], **options)
    return torch.cat([s_low, s_high], dim=1)


@torch.no_grad()
def ours(
    low: TokenTransformer,
    high: TokenTransformer,
    labels: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The same two stages by `iterative_decode`."""

    def stage(logits_fn: object, tokens: int, noise: float) -> Tensor:
        return iterative_decode(
            logits_fn,
            torch.full((len(labels), tokens), CODES),
            mask_index=CODES,
            steps=STEPS,
            schedule=cosine_schedule,
            order=confidence_order(temperature=noise),
            sample=temperature_sample(),
            generator=generator,
        )

    s_low = stage(lambda s, where: low(s, where, labels), LOW, NOISE[0])
    context = high.embed_context(s_low)
    s_high = stage(lambda s, where: high(s, where, labels, context=context), HIGH, NOISE[1])
    return torch.cat([s_low, s_high], dim=1)


def histogram_test(a: Tensor, b: Tensor) -> float:
    """p-value that two sets of codes share one histogram; codes seen rarely are put together."""
    counts = torch.stack([torch.bincount(x.flatten(), minlength=CODES) for x in (a, b)])
    rare = counts.sum(0) < 20
    pooled = torch.cat([counts[:, ~rare], counts[:, rare].sum(1, keepdim=True)], dim=1)
    pooled = pooled[:, pooled.sum(0) > 0]
    return float(stats.chi2_contingency(pooled.numpy()).pvalue)


def statistic(high: TokenTransformer, tokens: Tensor) -> np.ndarray:
    """A number for each sample that depends on which tokens stand together and where."""
    vectors = high.embedding.table.weight[tokens[:, LOW:]].detach()
    walk = (vectors[:, 1:] * vectors[:, :-1]).sum(-1).mean(1)
    return (walk + vectors[:, ::7].mean((1, 2))).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    low, high = priors()
    labels = torch.arange(SAMPLES) % 2
    generator = torch.Generator().manual_seed(0)
    timings = side_by_side(
        {
            "published loop, conditional": lambda: published(low, high, labels, both=True),
            "published loop, one forward": lambda: published(low, high, labels, both=False),
            "iterative_decode": lambda: ours(low, high, labels, generator),
        },
        rounds=3 if quick else 7,
        warmup=1,
    )
    print(table("64 samples of 8 + 64 tokens, 1024 codes, 10 + 10 steps", timings))
    runs = 2 if quick else 16
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(1)
    theirs = torch.cat([published(low, high, labels, both=False, clamp=True) for _ in range(runs)])
    mine = torch.cat([ours(low, high, labels, generator) for _ in range(runs)])
    print(
        f"\nTwo-sample tests, {len(mine)} samples each (the loop with MaskGIT's clamp of counts):"
    )
    print(f"- histogram of low tokens: p = {histogram_test(theirs[:, :LOW], mine[:, :LOW]):.3f}")
    print(f"- histogram of high tokens: p = {histogram_test(theirs[:, LOW:], mine[:, LOW:]):.3f}")
    law = stats.ks_2samp(statistic(high, theirs), statistic(high, mine))
    print(f"- statistic of neighbouring tokens, Kolmogorov-Smirnov: p = {law.pvalue:.3f}")
    wrong = mine.clone()
    flip = torch.rand(wrong.shape, generator=generator) < 0.1
    wrong[flip] = torch.randint(CODES, wrong.shape, generator=generator)[flip]
    p = histogram_test(theirs[:, LOW:], wrong[:, LOW:])
    print(f"- control, a tenth of our high tokens replaced at random: p = {p:.1e}")
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
