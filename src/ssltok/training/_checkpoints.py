"""What a stopped run needs to go on: one tree of state, saved whole, loaded if it is ours."""

import math
import pathlib
import shutil
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

__all__ = ["History", "Memory"]

KEPT = 2  # checkpoints


class History(NamedTuple):
    """What was recorded: the names, and a row for each step, `(steps, names)`."""

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
        self.model, self.optimizer, self.fingerprint = model, optimizer, fingerprint
        self.folder = None if folder is None else folder / name
        self.step = 0
        self.names: tuple[str, ...] = ()
        self.rows: list[Tensor] = []
        self.best, self.misses, self.stopped = math.inf, 0, False
        self.best_state: dict[str, Tensor] | None = None

    def record(self, results: list[Any]) -> None:
        self.step += 1
        self.names = tuple(results[0].logged)
        values = [torch.stack([r.logged[n].detach().float() for n in self.names]) for r in results]
        self.rows.append(
            torch.stack(values).mean(dim=0).cpu() if len(values) > 1 else values[0].cpu()
        )

    def shown(self) -> dict[str, str]:
        return {n: f"{v:.3g}" for n, v in zip(self.names, self.rows[-1].tolist(), strict=True)}

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
        if place.exists():
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
        for old in sorted(self.folder.glob("step_*"))[:-KEPT]:
            shutil.rmtree(old)

    def resume(self, accelerator: Any) -> None:
        if self.folder is None:
            return
        if accelerator.is_main_process:
            remove_litter(self.folder)
        accelerator.wait_for_everyone()
        for place in sorted(self.folder.glob("step_*"), reverse=True):
            try:
                state = unpack_state(place, read_folder(place))
            except ArtifactError as error:
                warnings.warn(
                    f"train_stage: passed over a damaged checkpoint ({error})", stacklevel=3
                )
                continue
            if state["fingerprint"] != self.fingerprint:
                raise ValueError(
                    f"train_stage: checkpoints must belong to this run (data, config, seed); "
                    f"got another run's in {place}"
                )
            self.step, self.names = state["step"], state["names"]
            self.rows = list(state["rows"])
            self.best, self.misses = float(state["best"]), state["misses"]
            self.stopped, self.best_state = state["stopped"], state["best_state"]
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            return
