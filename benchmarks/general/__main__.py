"""Train the general tokenizer: `python -m benchmarks.general --out RUN --export FOLDER`.

Deterministic by step and seed, on one thread; a run that was stopped goes on where it was. The
learning rate is constant until the last quarter of the steps, so a run may also be given fewer or
more steps as long as it is not in that quarter yet. `RUN/log.jsonl` is the record of the run.
`--export` writes the model at the end, with the metrics of a JSON file on its card; `--steps 0`
gives what the study calls untrained.
"""

import argparse
import hashlib
import json
import os
import pathlib
import time

import torch
from benchmarks.general._about import about
from benchmarks.general._learner import Learner
from benchmarks.general._pool import shipped_pool, synthetic_pool
from benchmarks.general._views import Views, draw_views, mixed_sources
from torch import nn

from ssltok.pipelines._general._codec import GeneralCodec
from ssltok.pipelines._general._files import General, write_general
from ssltok.training import keyed_generator, seeded

BATCH, RATE, WARMUP, LAST = 64, 1e-3, 200, 0.25
ENCODER = 0.3  # of the rate: the codebooks follow the encoder
EVERY = 100


def learning_rate(step: int, steps: int) -> float:
    """Rise, stay, and fall over the last quarter of the steps."""
    rise, fall = (step + 1) / WARMUP, (steps - step) / (LAST * steps)
    return RATE * min(1.0, rise, max(fall, 0.01))


def main() -> None:
    """Do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--stop", type=int, help="leave after this step, to go on later")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the synthetic series")
    parser.add_argument("--export", type=pathlib.Path, help="a new folder for the model")
    parser.add_argument("--name", default="general-1")
    parser.add_argument("--metrics", type=pathlib.Path, help="JSON: numbers by what they measure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint, log = options.out / "checkpoint.pt", options.out / "log.jsonl"
    synthetic, shipped = synthetic_pool(options.seed, options.share), shipped_pool()

    def views(step: int) -> Views:
        generator = keyed_generator(options.seed, "general", step)
        sources = mixed_sources(synthetic, shipped, cases=BATCH, generator=generator)
        return draw_views(sources, generator=generator)

    with seeded(options.seed):
        learner = Learner(GeneralCodec())
    learner.codec.quantizer.generator = torch.Generator()
    encoder = list(learner.codec.encoder.parameters())
    others = [p for p in learner.parameters() if all(p is not q for q in encoder)]
    groups = [{"params": encoder, "share": ENCODER}, {"params": others, "share": 1.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
    step, spent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["seed"] != options.seed or state["share"] != options.share:
            raise SystemExit("general: a checkpoint of another seed or share lies there")
        learner.load_state_dict(state["learner"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]
    else:
        with torch.no_grad():
            some = [views(-1 - i) for i in range(24)]
            start = [
                learner.codec.latents(v.series, v.observed, patch=v.patch).flatten(0, 1)
                for v in some
            ]
        learner.codec.quantizer.initialize(
            torch.cat(start)[:32768], steps=10, generator=keyed_generator(options.seed, "start")
        )
    begun, since = time.process_time(), 0
    sums: dict[str, float] = {}
    learner.train()
    last_step = options.steps if options.stop is None else min(options.stop, options.steps)
    while step < last_step:
        for group in optimizer.param_groups:
            group["lr"] = group["share"] * learning_rate(step, options.steps)
        learner.codec.quantizer.generator.manual_seed(step)
        out = learner(views(step))
        optimizer.zero_grad()
        out.loss.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        learner.codec.quantizer.update(out.latents.detach(), out.quantized.codes)
        step, since = step + 1, since + 1
        sums = {k: sums.get(k, 0.0) + float(v) for k, v in out.logged.items()}
        if step % EVERY == 0 or step == last_step:
            cpu = spent + time.process_time() - begun
            row = {"step": step, "cpu_s": round(cpu, 1), "lr": learning_rate(step, options.steps)}
            row |= {k: round(v / since, 5) for k, v in sums.items()}
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
            sums, since = {}, 0
            state = {
                "learner": learner.state_dict(), "optimizer": optimizer.state_dict(),
                "step": step, "spent": cpu, "seed": options.seed, "share": options.share,
                "steps": options.steps,
            }  # fmt: skip
            torch.save(state, checkpoint.with_suffix(".new"))
            os.replace(checkpoint.with_suffix(".new"), checkpoint)
    if options.export is not None:
        last = json.loads(log.read_text().splitlines()[-1]) if log.exists() and step else {}
        metrics = {} if options.metrics is None else json.loads(options.metrics.read_text())
        general = General(learner.codec, about(options.name, last, metrics))
        folder = write_general(general, options.export)
        weights = (folder / "model.safetensors").read_bytes()
        print(f"{folder}: {len(weights)} bytes, SHA-256 {hashlib.sha256(weights).hexdigest()}")


if __name__ == "__main__":
    main()
