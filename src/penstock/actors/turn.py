"""Whose turn it is in a pool of workers: decisions over values."""

from __future__ import annotations

from collections.abc import Iterable

import anyio


class Turn:
    """A task's turn, from when its worker is asked for until that is free again, or has ended."""

    def __init__(self, file_systems: frozenset[str], *, is_long: bool) -> None:
        self.file_systems = file_systems  # that the task goes into; one with none never hangs
        self.is_long = is_long
        self.begun = anyio.Event()
        self.is_hung = False  # its worker waits for a file system that does not answer
        self.is_leaving = False  # its worker was killed, and has not ended yet

    @property
    def is_aside(self) -> bool:
        """Whether its place in the pool is lent on."""
        return self.is_hung or self.is_leaving


def choose_next(waiting: Iterable[Turn], under_way: Iterable[Turn], size: int) -> list[Turn]:
    """Which of those that wait begin now, in their order: so many that no more than `size` are at work.

    Long ones never take the last place. One that goes wherever another goes that is aside would come to a stand as that
    did, so it waits. (Where that goes to other file systems as well, nobody knows yet which of them is dead; who goes
    to one of them alone finds out.)
    """
    under_way = list(under_way)
    closed = {turn.file_systems for turn in under_way if turn.is_aside and turn.file_systems}  # a set of none is in all
    at_work = [turn for turn in under_way if not turn.is_aside]
    room = size - len(at_work)
    room_for_long = max(1, size - 1) - sum(turn.is_long for turn in at_work)
    chosen = []
    for turn in waiting:
        if room <= 0:
            break
        if (turn.is_long and room_for_long <= 0) or any(part <= turn.file_systems for part in closed):
            continue
        chosen.append(turn)
        room -= 1
        room_for_long -= turn.is_long
    return chosen
