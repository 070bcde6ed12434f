"""A warm pool of gloo ranks: a distributed test costs milliseconds, not a fresh process each."""

import multiprocessing
import pathlib
import tempfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

__all__ = ["Ranks"]

SECONDS = 60


class Ranks:
    """Processes of one gloo group that run a function each, and return what it returns.

    The function must be importable (defined at the top of a test module); its arguments and its
    result travel by pickle, so they may be tensors.
    """

    def __init__(self, world: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory()
        store = str(pathlib.Path(self._folder.name) / "store")
        self._pipes, self._processes = [], []
        self._jobs = 0
        for rank in range(world):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, world, store, theirs), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def run(self, function: Callable[..., Any], *args_by_rank: tuple[Any, ...]) -> list[Any]:
        """Call `function(*args)` on each rank with that rank's arguments; return both results."""
        if len(args_by_rank) != len(self._pipes):
            raise ValueError(f"{len(self._pipes)} ranks; got {len(args_by_rank)} tuples")
        self._jobs += 1
        for pipe, args in zip(self._pipes, args_by_rank, strict=True):
            pipe.send((self._jobs, function, args))
        replies = []
        for rank, pipe in enumerate(self._pipes):
            job = 0
            while job != self._jobs:  # the answer to a job that timed out may still lie there
                if not pipe.poll(SECONDS):
                    raise TimeoutError(f"rank {rank} did not answer in {SECONDS} s")
                job, *reply = pipe.recv()
            replies.append(reply)
        for rank, (good, reply) in enumerate(replies):
            if not good:
                raise RuntimeError(f"rank {rank}: {reply}")
        return [reply for _, reply in replies]

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(timeout=10)
            if process.is_alive():
                process.kill()
        self._folder.cleanup()


def _serve(rank: int, world: int, store: str, pipe: Any) -> None:
    import traceback

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=SECONDS),
    )
    while (order := pipe.recv()) is not None:
        job, function, args = order
        try:
            reply = (job, True, function(*args))
        except Exception:
            reply = (job, False, traceback.format_exc())
        pipe.send(reply)
    dist.destroy_process_group()
