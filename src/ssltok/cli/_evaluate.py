"""The command `ssltok evaluate`."""

import pathlib
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from ssltok.cli._outputs import check_new_folder
from ssltok.cli._reading import ReadingOptions, read
from ssltok.cli._say import say
from ssltok.data import Reading, train_and_test
from ssltok.evaluation import RidgeJudge, evaluate, load_samples, standard_measures
from ssltok.pipelines import SSLTokenizer, tokenizer_measures, tokens_of
from ssltok.training import keyed_generator

__all__ = ["Evaluate"]


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Compare generated series, from this or any other model, with real ones."""

    generated: Annotated[str, tyro.conf.Positional]
    """A file with the generated series, and labels if there are any: the samples.npz of `ssltok
    run`, what `ssltok sample` wrote, or any .npz with X and y."""
    data: str = "GunPoint"
    """The real series, with a training and a test part."""
    reading: ReadingOptions = field(default_factory=Reading)
    model: pathlib.Path | None = None
    """A saved model's folder: what its tokenizer makes of the three sets is compared too, and the
    model is measured on the real ones."""
    out: pathlib.Path = pathlib.Path("evaluation")
    """A new folder for the table and the page."""
    window: int | None = None
    """As for run: samples of a window, where the real series are long."""
    stride: int | None = None
    """As for run: samples from one window to the next."""
    resample: str | None = None
    """As for run: bring irregular times to this step first."""
    steps: int = 500
    """Budget of each measure that trains a network; 0 leaves those out."""
    seed: int = 0
    """Decides everything random in the measures."""
    quiet: bool = False
    """Show no progress bar."""

    def __call__(self) -> None:
        """Do it."""
        check_new_folder("evaluate", self.out)
        if self.steps < 0:
            raise ValueError(f"evaluate: steps must be >= 0; got {self.steps}")
        data = read(self.data, self.reading, resample=self.resample)
        generated = load_samples(self.generated)
        model = None if self.model is None else SSLTokenizer.load(self.model)
        train, train_labels, test, test_labels, parted = train_and_test(
            data,
            keyed_generator(self.seed, "test-part"),
            window=self.window,
            stride=self.stride,
            who="evaluate",
        )
        if parted:
            say(f"{self.data}: {parted}")
        if data.test is None:
            say(
                f"evaluate: {self.data} has no test part, so a fifth of it stands in for one, "
                f"from seed {self.seed}. `ssltok run` with the same options keeps the same fifth "
                "out of its training. A model that was fitted on the whole file, as by "
                "`ssltok fit`, has seen these series, and what is said of unseen series below "
                "does not hold for it."
            )
        report = evaluate(
            train,
            test,
            generated.series,
            train_labels=train_labels,
            test_labels=test_labels,
            generated_labels=generated.labels,
            tokens=None
            if model is None
            else tokens_of(model, train=train, test=test, generated=generated.series),
            measures=(*standard_measures, RidgeJudge())
            if model is None
            else (*standard_measures, RidgeJudge(), tokenizer_measures(model)),
            steps=self.steps,
            seed=self.seed,
            progress=not self.quiet,
        )
        report.save(self.out)
        say(report.to_text())
