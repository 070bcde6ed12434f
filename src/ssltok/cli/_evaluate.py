"""The command `ssltok evaluate`."""

import pathlib
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from ssltok.cli._say import say
from ssltok.data import load_dataset, train_and_test
from ssltok.evaluation import Tokens, evaluate
from ssltok.pipelines import SSLTokenizer
from ssltok.training import keyed_generator

__all__ = ["Evaluate"]


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Compare generated series, from this or any other model, with real ones."""

    generated: Annotated[str, tyro.conf.Positional]
    """A file with the generated series, and labels if there are any (.npz with X and y)."""
    data: str = "GunPoint"
    """The real series, with a training and a test part."""
    model: pathlib.Path | None = None
    """A saved model's folder: what its tokenizer makes of the three sets is compared too."""
    out: pathlib.Path = pathlib.Path("evaluation")
    """A new folder for the table and the page."""
    steps: int = 500
    """Budget of each measure that trains a network; 0 leaves those out."""
    seed: int = 0
    """Decides everything random in the measures."""
    quiet: bool = False
    """Show no progress bar."""

    def __call__(self) -> None:
        """Do it."""
        if self.out.exists():
            raise FileExistsError(f"evaluate: out must be a new folder; got {self.out}")
        data, made = load_dataset(self.data), load_dataset(self.generated)
        train, train_labels, test, test_labels = train_and_test(
            data, keyed_generator(self.seed, "test-part"), who="evaluate"
        )
        if data.test is None:
            say(
                f"evaluate: {self.data} has no test part, so a fifth of it stands in for one, "
                f"drawn from seed {self.seed}. `ssltok run` with that seed keeps the same fifth "
                "out of its training. A model that was fitted on the whole file, as by "
                "`ssltok fit`, has seen these series, and what is said of unseen series below "
                "does not hold for it."
            )
        report = evaluate(
            train,
            test,
            made.train,
            train_labels=train_labels,
            test_labels=test_labels,
            generated_labels=made.train_labels,
            tokens=None if self.model is None else _tokens(self.model, train, test, made.train),
            steps=self.steps,
            seed=self.seed,
            progress=not self.quiet,
        )
        report.save(self.out)
        say(report.to_text())


def _tokens(folder: pathlib.Path, train: Any, test: Any, generated: Any) -> Tokens:
    """Codes by a saved model; those of a further branch are numbered after those before it."""
    model = SSLTokenizer.load(folder)
    tokenizer = model.artifact_.tokenizer
    size = tokenizer.codebook_size
    branches = torch.arange(len(tokenizer.sizes)).repeat_interleave(torch.tensor(tokenizer.sizes))

    def encode(series: Any) -> Tensor:
        codes = torch.from_numpy(model.encode(series))
        return torch.where(codes >= 0, codes + size * branches, codes)

    return Tokens(
        train=encode(train),
        test=encode(test),
        generated=encode(generated),
        codebook_size=size * len(tokenizer.sizes),
        codebook=torch.cat([part.quantizer.codebook.detach() for part in tokenizer.parts]),
    )
