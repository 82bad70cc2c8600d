"""How do several processes work through one list, in its order?  Forked workers, which end when their parent does."""

import gc
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

Label = TypeVar("Label")
Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result], work: Iterable[tuple[Label, Item]], processes: int,
    begin: Callable[..., None] = gc.disable, arguments: tuple[Any, ...] = (),
) -> Iterator[tuple[Label, Result]]:  # fmt: skip
    """`function` of every item, in the order given, under its label; a few are under way at a time, so memory is
    bounded. Each process calls `begin(*arguments)` first."""
    # A spawned process would import the caller's torch again; Windows knows no other.
    context = multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")
    under_way: deque[tuple[Label, Future[Result]]] = deque()
    with ProcessPoolExecutor(processes, context, become_worker, (os.getpid(), begin, arguments)) as pool:
        for label, item in work:
            under_way.append((label, pool.submit(function, item)))
            if len(under_way) > 2 * processes:
                label, first = under_way.popleft()
                yield label, first.result()
        for label, rest in under_way:
            yield label, rest.result()


def become_worker(parent: int, begin: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    begin(*arguments)


def end_with(parent: int) -> None:
    """End this process when its parent is no more: a killed parent cannot tell its workers."""
    until_gone(parent)
    os._exit(1)


def until_gone(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
