"""Processes that work through jobs: one that dies or hangs is told with its job, and another takes its place.

`multiprocessing.Pool` and `concurrent.futures` lose the job of a process that dies, and can't end one that hangs.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

LOOK_S = 0.5
"""How often it is looked whether one hangs."""
END_S = 5.0
"""A process that was told to end has ended by then, or is killed."""


@dataclass(frozen=True)
class Job:
    """What `work` is called with, and how long it may take."""

    name: str
    work: Callable[..., Any]
    args: tuple[Any, ...]
    limit_s: float


@dataclass(frozen=True)
class Done:
    """`result`, or why there is none."""

    job: Job
    result: Any
    error: str = ""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: Job | None = None
    began: float = 0.0


class Workers:
    """So many processes. Use it with `with`: they end with the block, whatever ends it."""

    def __init__(self, count: int) -> None:
        self._context = multiprocessing.get_context("fork")
        self._count = count
        self._workers: list[_Worker] = []

    def __enter__(self) -> Workers:
        with _no_interrupt():
            for _ in range(self._count):
                self._workers.append(self._started())
        return self

    def __exit__(self, *_: object) -> None:
        with _no_interrupt():
            for worker in self._workers:
                _end(worker)

    @property
    def idle(self) -> int:
        return sum(worker.job is None for worker in self._workers)

    @property
    def busy(self) -> int:
        return len(self._workers) - self.idle

    def give(self, job: Job) -> None:
        """One of them has to be idle."""
        worker = next(w for w in self._workers if w.job is None)
        worker.job, worker.began = job, time.monotonic()
        worker.pipe.send((job.work, job.args))

    def done(self) -> Iterator[Done]:
        """What has ended since, after waiting for `LOOK_S` at most."""
        ready = wait([w.pipe for w in self._workers if w.job is not None], LOOK_S)
        for i, worker in enumerate(self._workers):
            job = worker.job
            if job is None:
                continue
            if worker.pipe in ready:
                try:
                    result, error = worker.pipe.recv()
                    worker.job = None
                    yield Done(job, result, error)
                except (EOFError, OSError):
                    yield self._replaced(i, job, "died")
            elif time.monotonic() - worker.began > job.limit_s:
                yield self._replaced(i, job, f"had not ended after {job.limit_s:.0f} s")

    def _replaced(self, i: int, job: Job, error: str) -> Done:
        worker = self._workers[i]
        with _no_interrupt():
            _end(worker)
            self._workers[i] = self._started()
        if error == "died":
            error = f"its process died (exit code {worker.process.exitcode})"
        return Done(job, None, error)

    def _started(self) -> _Worker:
        """With SIGINT blocked, in the process too: Ctrl-C in the terminal is for the parent, which ends its workers."""
        ours, theirs = self._context.Pipe()
        parents = [ours, *(w.pipe for w in self._workers if not w.pipe.closed)]
        process = self._context.Process(target=_work, args=(theirs, parents), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Ctrl-C waits: no process may be left that nobody knows of."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.terminate()
    worker.process.join(END_S)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _work(pipe: Connection, parents: Iterable[Connection]) -> None:
    """A worker's life. It ends with its parent, whose ends of the pipes no other process may have open."""
    for end in parents:
        end.close()
    while True:
        try:
            work, args = pipe.recv()
        except EOFError:
            return
        try:
            result, error = work(*args), ""
        except Exception as failure:  # noqa: BLE001 - the parent tells it, with the job
            result, error = None, f"{type(failure).__name__}: {failure}"
        pipe.send((result, error))
