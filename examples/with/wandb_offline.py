"""Weights & Biases, offline: every step of a fit is logged; `wandb sync` sends it when you will."""

from dataclasses import asdict

import numpy as np
import wandb

from ssltok.pipelines import SSLTokenizer, shorten

random = np.random.default_rng(0)
waves = np.sin(np.linspace(0, 12, 64) * random.uniform(1, 3, (40, 1))) * 3 + 20
config = shorten("compact", steps=20)

with wandb.init(mode="offline", project="waves", config=asdict(config.tokenizer)) as run:

    def log(stage: str, step: int, terms: dict[str, float]) -> None:
        run.log({f"{stage}/step": step, **{f"{stage}/{k}": v for k, v in terms.items()}})

    for stage in ("tokenizer", "prior"):  # each stage has steps of its own
        run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
    model = SSLTokenizer(config, seed=0, progress=False, observe=log).fit(waves)
    run.summary["variance explained"] = model.score(waves)
print(f"{run.dir} holds the run; the tokens explain {model.score(waves):.0%} of the variance")
