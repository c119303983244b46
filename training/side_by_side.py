"""Many films at an engine at once, so that it steps what they wait for together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


def side_by_side(
    ask: Callable[[Asked], Answer], asked: Iterable[Asked], width: int
) -> Iterator[Answer]:
    """Yield the answers in order, ``width`` questions being at work at any time.

    No more are begun than are at work: who stops has lost no more than those.
    """
    waiting = iter(asked)
    with ThreadPoolExecutor(width) as pool:
        begun: list[Future[Answer]] = [pool.submit(ask, one) for one in islice(waiting, width)]
        while begun:
            done = begun.pop(0).result()
            begun += [pool.submit(ask, one) for one in islice(waiting, 1)]
            yield done
