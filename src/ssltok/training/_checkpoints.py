"""What a stopped run needs to go on: one tree of state, saved whole, loaded if it is ours."""

import math
import os
import pathlib
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssltok._shared.storage import (
    ArtifactError,
    pack_state,
    read_folder,
    remove_litter,
    unpack_state,
    write_folder,
)
from ssltok._shared.work_folders import STEP, list_checkpoints, remove_checkpoint

__all__ = ["History", "Memory"]

KEPT = 2  # checkpoints
KEYS = {
    "fingerprint", "step", "names", "rows", "best", "misses", "stopped", "best_state", "model",
    "optimizer",
}  # fmt: skip


class History(NamedTuple):
    """What was recorded of a stage.

    Attributes:
        names: What each column is, such as `loss`.
        rows: A row for each step, `(steps, names)`.
    """

    names: tuple[str, ...]
    rows: Tensor


class Memory:
    """Everything that a stopped run needs to go on: one tree, saved and loaded as a whole."""

    def __init__(
        self,
        name: str,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        folder: pathlib.Path | None,
        fingerprint: str,
    ) -> None:
        self.name = name
        self.model, self.optimizer, self.fingerprint = model, optimizer, fingerprint
        self.folder = None if folder is None else folder / name
        self.step = 0
        self.names: tuple[str, ...] = ()
        self.rows: list[Tensor] = []
        self.best, self.misses, self.stopped = math.inf, 0, False
        self.best_state: dict[str, Tensor] | None = None
        self.whole: list[pathlib.Path] = []

    def record(self, results: list[Any]) -> float:
        """Keep the terms of a step, and return its loss: both in one move from the device."""
        self.step += 1
        self.names = tuple(results[0].logged)
        values = [
            torch.stack([t.detach().float() for t in (r.loss, *(r.logged[n] for n in self.names))])
            for r in results
        ]
        row = torch.stack(values).mean(dim=0).cpu() if len(values) > 1 else values[0].cpu()
        self.rows.append(row[1:])
        return float(row[0])

    def terms(self) -> dict[str, float]:
        return dict(zip(self.names, self.rows[-1].tolist(), strict=True))

    def shown(self) -> dict[str, str]:
        return {name: f"{value:.3g}" for name, value in self.terms().items()}

    def history(self) -> History:
        return History(self.names, torch.stack(self.rows) if self.rows else torch.zeros(0, 0))

    def judge(self, value: float, patience: int) -> None:
        if value < self.best:
            self.best, self.misses = value, 0
            self.best_state = {k: v.clone() for k, v in self.model.state_dict().items()}
        else:
            self.misses += 1
            self.stopped = self.misses >= patience

    def restore_best(self) -> None:
        if self.best_state is not None:
            self.model.load_state_dict(self.best_state)

    def save(self) -> None:
        if self.folder is None:
            return
        place = self.folder / f"step_{self.step:08d}"
        if place in self.whole:
            return
        if os.path.lexists(place):  # ours and damaged ones are gone since `resume`
            warnings.warn(
                f"train_stage: kept no checkpoint of step {self.step}, for {place} is not ours",
                stacklevel=3,
            )
            return
        state = {
            "fingerprint": self.fingerprint,
            "step": self.step,
            "names": self.names,
            "rows": self.history().rows,
            "best": repr(self.best),
            "misses": self.misses,
            "stopped": self.stopped,
            "best_state": self.best_state,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        write_folder(place, pack_state(state))
        self.whole.append(place)
        for old in self.whole[:-KEPT]:
            remove_checkpoint(old)
        self.whole = self.whole[-KEPT:]

    def resume(self, accelerator: Any) -> None:
        """Go on from the newest checkpoint that is whole; damaged ones of ours are removed."""
        if self.folder is None:
            return
        if accelerator.is_main_process:
            remove_litter(self.folder, names=STEP.pattern)
        accelerator.wait_for_everyone()
        damaged: list[tuple[pathlib.Path, ArtifactError]] = []
        present = list_checkpoints(self.folder)
        while present:
            state = self._read(present[-1], damaged)
            if state is None:
                present.pop()
                continue
            place = present[-1]
            if state["fingerprint"] != self.fingerprint:
                raise ValueError(
                    f"train_stage: checkpoints must belong to this run (data, config, seed); "
                    f"got another run's in {place}; "
                    "give another folder, or remove that one to begin anew"
                )
            self.step, self.names = state["step"], state["names"]
            self.rows = list(state["rows"])
            self.best, self.misses = float(state["best"]), state["misses"]
            self.stopped, self.best_state = state["stopped"], state["best_state"]
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            break
        self.whole = present
        accelerator.wait_for_everyone()  # until all have read: then what is damaged goes
        if damaged and accelerator.is_main_process:
            for place, _ in damaged:
                remove_checkpoint(place)
            facts = "; ".join(str(error) for _, error in damaged)
            warnings.warn(
                f"train_stage: passed over a damaged checkpoint ({facts}) and removed it; "
                f"training goes on from step {self.step}",
                stacklevel=3,
            )

    def _read(self, place: pathlib.Path, damaged: list[tuple[pathlib.Path, ArtifactError]]) -> Any:
        try:
            state = unpack_state(place, read_folder(place))
            if not isinstance(state, dict) or set(state) != KEYS:
                raise ArtifactError(place, "a state of another form")
        except ArtifactError as error:
            damaged.append((place, error))
            return None
        return state
