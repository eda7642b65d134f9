"""Train and score rows: in processes of one thread each, so that the figures do not depend on the number of cores."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

from ..detectors.base import Detector, Maps
from .rows import Row
from .store import Store

_work: tuple[Store, Detector] | None = None


def scored(
    tasks: Sequence[tuple[Row, int]], folder: Path, detector: Detector, workers: int
) -> Iterator[tuple[Row, int, Maps]]:
    """Each (row, seed) with its maps, in the order of `tasks`.

    Args:
        workers: processes; 0: in this one (a GPU, or a command that has its own processes).
    """
    if workers < 2:
        store = Store(folder)
        for row, seed in tasks:
            yield row, seed, _maps(store, detector, row, seed)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(folder, detector))
    try:
        # A few ahead, not all: the maps of a large test set would fill the memory.
        waiting = iter(tasks)
        ahead: deque[tuple[Row, int, Future[Maps]]] = deque()
        for row, seed in itertools.islice(waiting, 2 * workers):
            ahead.append((row, seed, pool.submit(_one, row, seed)))
        while ahead:
            row, seed, future = ahead.popleft()
            maps = future.result()
            for following in itertools.islice(waiting, 1):
                ahead.append((*following, pool.submit(_one, *following)))
            yield row, seed, maps
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        # An interrupted row would go on for minutes.
        for process in list((pool._processes or {}).values()):
            process.terminate()


def one_thread() -> None:
    """Sums in one order: the same figures on two cores and on sixty."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin(folder: Path, detector: Detector) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    one_thread()
    _work = (Store(folder), detector)


def _one(row: Row, seed: int) -> Maps:
    assert _work is not None
    return _maps(*_work, row, seed)


def _maps(store: Store, detector: Detector, row: Row, seed: int) -> Maps:
    return detector.maps(store.get("good"), store.pools(row, seed), store.get("test"), seed)
