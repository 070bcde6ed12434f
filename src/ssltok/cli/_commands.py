"""The command `ssltok`: its subcommands, of which tyro builds it."""

import dataclasses
import math
import pathlib
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from ssltok._shared.outputs import check_output
from ssltok._shared.storage import to_json
from ssltok._shared.work_folders import clear_work, has_checkpoints
from ssltok.cli._anomalies import Anomalies
from ssltok.cli._evaluate import Evaluate
from ssltok.cli._forecast import Forecast, Impute
from ssltok.cli._outputs import check_new_folder, unfinished
from ssltok.cli._reading import ReadingOptions, read
from ssltok.cli._sample import Encode, Sample
from ssltok.cli._say import say
from ssltok.data import Dataset, Reading, windowed
from ssltok.distributed import is_first
from ssltok.evaluation import ReportRow
from ssltok.pipelines import (
    AutoConfig,
    Config,
    DecodingConfig,
    PretrainedTokenizer,
    PriorConfig,
    SSLTokenizer,
    TokenizerConfig,
    resolve_preset,
    run,
)
from ssltok.training import TrainingConfig

__all__ = ["run_command"]

SECTIONS = ("tokenizer", "prior", "tokenizer_training", "prior_training", "decoding")
HEADLINES = ("CAS, ridge (ROCKET)", "variance explained", "linear probe on tokens", "codes used")
"""Rows that are repeated below the table of a run."""
Preset = Literal["auto", "compact", "demo", "nc_vqvae", "ssltok", "timevqvae"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """What `run` and `fit` share: data, preset, and every number of the preset."""

    data: str = "GunPoint"
    """A data set that sktime ships or fetches, or a file: .csv, .tsv, .txt, .parquet, .feather,
    .xlsx, .npz, .npy, .mat, .ts, .arff or .tsf. `run DATA` and `fit DATA` are the same."""
    reading: ReadingOptions = field(default_factory=Reading)
    source: bool | None = None
    """Whether series stay in the file (.npy, .parquet, .arrow, .feather) and are read when needed;
    by default where it has more than 1 GiB and its rows can only be series."""
    window: int | None = None
    """Cut long series into windows of this many samples, and learn these."""
    stride: int | None = None
    """Samples from one window to the next; by default a quarter of a window."""
    resample: str | None = None
    """Bring irregular times to this step first, such as h, 15min or D."""
    preset: Preset = "auto"
    """Where the numbers below come from: auto reads the data first and chooses them, demo is small,
    the papers' presets take hours."""
    minutes: float = AutoConfig.minutes
    """What a whole run may take on two cores (auto only)."""
    explained: float = AutoConfig.explained
    """Share of the variance that the tokens shall explain (auto only)."""
    typed: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """The numbers below that the user typed."""
    seed: int = 0
    """Same seed, same result."""
    steps: int = 0
    """Optimizer steps in each stage; 0 = as the preset says."""
    quiet: bool = False
    """Show no progress bars."""
    cpu: bool = False
    """Stay on the CPU even where there is an accelerator."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision of training."""
    workers: int = 0
    """Processes that prepare batches."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """Stage 1."""
    prior: PriorConfig = field(default_factory=PriorConfig)
    """Stage 2."""
    tokenizer_training: TrainingConfig = field(default_factory=TrainingConfig)
    """How stage 1 is trained."""
    prior_training: TrainingConfig = field(default_factory=TrainingConfig)
    """How stage 2 is trained."""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    """How new series are drawn."""

    def read(self) -> Dataset:
        """The data, at regular times where that is asked for."""
        return read(self.data, self.reading, resample=self.resample, source=self.source)

    def config(self) -> Config | AutoConfig:
        """The config of these options, or what `auto` is told."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(Config)}
        if self.preset == "auto":
            return self._auto()
        config = Config(**fields)
        if not self.steps:
            return config
        stages = ("tokenizer_training", "prior_training")
        shorter = {s: dataclasses.replace(fields[s], steps=self.steps) for s in stages}
        return dataclasses.replace(config, **shorter)

    def _auto(self) -> AutoConfig:
        given = {}
        for path in self.typed:
            section, _, name = path.partition("__")
            if name and section in SECTIONS:
                given[path] = getattr(getattr(self, section), name)
        if self.steps:
            given |= {f"{stage}_training__steps": self.steps for stage in ("tokenizer", "prior")}
        given |= {"precision": self.precision, "workers": self.workers}
        return AutoConfig(minutes=self.minutes, explained=self.explained, given=given)


@dataclass(frozen=True, kw_only=True)
class Run(Training):
    """The main job: train on a data set, generate new series, evaluate, write a report."""

    out: pathlib.Path = pathlib.Path("run")
    """A new folder for the model, the samples, the numbers and the report."""
    overwrite: bool = False
    """Replace a finished run in that folder."""
    evaluator_steps: int | None = None
    """Budget of each network that judges the series; 0 leaves these out, as auto does."""

    def __call__(self) -> None:
        """Do it."""
        check_output("run", self.out / "unfinished")  # before a large file is read
        data = self.read()
        report = run(
            data,
            self.config(),
            self.out,
            seed=self.seed,
            progress=not self.quiet,
            overwrite=self.overwrite,
            evaluator_steps=self.evaluator_steps,
            cpu=self.cpu,
            window=self.window,
            stride=self.stride,
        )
        if report.rows:
            say(f"{report.to_text()}\n")
            say("\n".join(_line(row) for row in report.rows if row.name in HEADLINES))
            for sentence in report.about["verdict"]:  # type: ignore[attr-defined]
                say(f"not good: {sentence}")
            say(f"report: {self.out / 'report.html'}")


@dataclass(frozen=True, kw_only=True)
class Fit(Training):
    """Train a model on all the training series and save it."""

    out: pathlib.Path = pathlib.Path("model")
    """A new folder for the model."""
    checkpoints: pathlib.Path | None = None
    """A folder where training keeps what it needs to go on after a kill, and leaves it; by
    default `OUT.unfinished`, which goes when the model is there."""

    def __call__(self) -> None:
        """Do it."""
        check_new_folder("fit", self.out)
        data = self.read()
        if self.window is not None:
            data = windowed(data, size=self.window, stride=self.stride, who="fit")
            say(f"{self.data}: {data.about}")
        folder = unfinished("fit", self.out) if self.checkpoints is None else self.checkpoints
        try:
            model = SSLTokenizer(
                self.config(),
                seed=self.seed,
                checkpoints=folder,
                layout=data.layout if self.window is None else "channels_first",
                progress=not self.quiet,
                cpu=self.cpu,
            ).fit(data.train, data.train_labels)
        except BaseException:
            if self.checkpoints is None and is_first() and not has_checkpoints(folder):
                clear_work(folder)  # nothing to go on with
            raise
        if is_first():
            model.save(self.out)
            if self.checkpoints is None:
                clear_work(folder)
            say(f"model: {self.out}")


@dataclass(frozen=True, kw_only=True)
class Info:
    """Say what is in a model."""

    model: Annotated[str, tyro.conf.Positional]
    """The model's folder; or general, or owner/name on the hub."""

    def __call__(self) -> None:
        """Do it."""
        model = SSLTokenizer.from_pretrained(self.model)
        if isinstance(model, PretrainedTokenizer) and not hasattr(model, "artifact_"):
            say(to_json(model.about_, allow_nan=False).decode())
            return
        tokenizer = model.artifact_.tokenizer
        summary = {
            "channels": tokenizer.channels,
            "length": tokenizer.length,
            "classes": [str(label) for label in model.classes_],
            "tokens": model.tokens_,
            "token grids (frequency, time)": tokenizer.grids,
            "codes": tokenizer.codebook_size,
            "parameters": {
                "tokenizer": sum(p.numel() for p in tokenizer.parameters()),
                "prior": sum(p.numel() for p in model.artifact_.prior.parameters()),
            },
            "provenance": model.provenance_,
        }
        say(to_json(summary, allow_nan=False).decode())


MODELS = {
    "run": 0, "fit": 0, "encode": 1, "forecast": 1, "impute": 1, "anomalies": 1, "evaluate": 1,
}  # fmt: skip
"""How many words stand before the data, where those are named by their place."""

Command = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Fit, tyro.conf.subcommand("fit")]
    | Annotated[Sample, tyro.conf.subcommand("sample")]
    | Annotated[Encode, tyro.conf.subcommand("encode")]
    | Annotated[Forecast, tyro.conf.subcommand("forecast")]
    | Annotated[Impute, tyro.conf.subcommand("impute")]
    | Annotated[Anomalies, tyro.conf.subcommand("anomalies")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Info, tyro.conf.subcommand("info")]
)


def run_command(words: list[str]) -> None:
    """Run one command line; what can go wrong is raised."""
    command: Any = tyro.cli(
        _command_type(words),
        prog="ssltok",
        description="Tokens of time series, and new series from tokens. Begin with: ssltok run",
        args=_plain_data(words),
    )
    command()


def _plain_data(words: list[str]) -> list[str]:
    """`run DATA`, `encode MODEL DATA`, `encode --model MODEL DATA`: with `--data` before DATA."""
    command, rest = words[:1], words[1:]
    if not command or command[0] not in MODELS:
        return words
    if command == ["encode"] and rest[:1] == ["--model"]:
        rest = rest[1:]
    first = MODELS[command[0]]
    named = any(word.partition("=")[0] == "--data" for word in rest)
    if named or len(rest) <= first or any(word.startswith("-") for word in rest[: first + 1]):
        return [*command, *rest]
    return [*command, *rest[:first], "--data", *rest[first:]]


def _command_type(words: list[str]) -> Any:
    """The commands, with the defaults of the preset that the words ask for."""
    preset = "auto"
    for place, word in enumerate(words):
        if word == "--preset" and place + 1 < len(words):
            preset = words[place + 1]
        elif word.startswith("--preset="):
            preset = word.partition("=")[2]
    try:
        config = Config() if preset == "auto" else resolve_preset("ssltok", preset)
    except ValueError:
        return Command  # tyro says what the choices are
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(Config)}
    typed = [word.partition("=")[0].removeprefix("--") for word in words if word.startswith("--")]
    paths = tuple(path.replace("-", "_").replace(".", "__") for path in typed)
    start: dict[str, Any] = {**fields, "preset": preset, "typed": paths}
    return (
        Annotated[Run, tyro.conf.subcommand("run", default=Run(**start))]
        | Annotated[Fit, tyro.conf.subcommand("fit", default=Fit(**start))]
        | Annotated[Sample, tyro.conf.subcommand("sample")]
        | Annotated[Encode, tyro.conf.subcommand("encode")]
        | Annotated[Forecast, tyro.conf.subcommand("forecast")]
        | Annotated[Impute, tyro.conf.subcommand("impute")]
        | Annotated[Anomalies, tyro.conf.subcommand("anomalies")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Info, tyro.conf.subcommand("info")]
    )


def _line(row: ReportRow) -> str:
    if row.skipped:
        return f"{row.name}: skipped: {row.skipped}"
    reference = "" if math.isnan(row.reference) else f" (real: {row.reference:.4g})"
    note = f" ({row.note})" if row.note else ""
    return f"{row.name}: {row.value:.4g}{reference}{note}"
