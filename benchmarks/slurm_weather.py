"""The two threads of a storm on Slurm: one kills the daemon, one harms everything else."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

from benchmarks.daemon import BenchDaemon
from benchmarks.faults import CUTTING, LYING
from benchmarks.slurm_site import Site
from benchmarks.submission_points import POINTS, Point, Running, passed

_LOOK_S: Final = 0.002
_TRIES: Final = 3
_POINT_S: Final = 8.0  # how long a submission may take to come to a point
_EARLY: Final = 0.3  # the share of kills that hit the daemon while it starts
_ORDER_S: Final = 6.0
_OUTAGE_S: Final = 60.0  # of slurmctld, the first time


class Daemons:
    """The daemon's lives, and what its processes ask the storm to do. One thread at a time uses it."""

    def __init__(self, daemon: BenchDaemon, places: list[Site], moments: random.Random) -> None:
        self.kills = 0
        self.points: Counter[int] = Counter()
        self._daemon, self._places, self._random = daemon, places, moments

    def kill(self) -> None:
        """`kill -9`, a moment without, and a new one."""
        self._daemon.kill()
        self.kills += 1

    def revive(self) -> None:
        """A moment without a daemon, and a new one."""
        time.sleep(self._random.uniform(0.0, 0.3))
        self._daemon.spawn()
        if self._random.random() > _EARLY:
            self._daemon.wait_until_up()

    def serve(self) -> bool:
        """Does what calls of sbatch ask for; whether the daemon was killed for one."""
        asked = [(site, ask) for site in self._places for ask in site.shims.asked()]
        killed = False
        for site, ask in asked:
            if ask.order in CUTTING:
                assert site.sshd is not None
                site.sshd.kill_sessions()
            elif not killed:
                self.kill()
                killed = True
                self.points[next((point.number for point in POINTS if point.order == ask.order), 0)] += 1
            ask.grant()
        if killed:
            self.revive()
        return killed


class Killer:
    """Kills at random instants and at each numbered point in turn. `running` are the workflows to look at."""

    def __init__(self, daemons: Daemons, kills: int, seed: int, running: Callable[[], list[Running]]) -> None:
        self.daemons = daemons
        self.missed: Counter[int] = Counter()
        self._limit, self._running = kills, running
        self._random = random.Random(seed)
        self._points = deque(self._random.sample(POINTS, len(POINTS)))

    def blow(self, calm: threading.Event) -> None:
        """Until enough has been killed, and at every point."""
        while not self.is_done and not calm.is_set():
            untried = self._untried()
            is_turn = self.daemons.kills % 2 or self._limit - self.daemons.kills <= len(untried)
            if is_turn and self._running():
                point, kills = self._points[0], self.daemons.kills
                self._points.rotate(-1)
                self._kill_at(point)
                if self.daemons.kills == kills:  # nothing comes to that point now
                    self._kill_at_random(calm)
            else:
                self._kill_at_random(calm)
        while not calm.is_set():  # the weather may still need somebody
            if not self.daemons.serve():
                time.sleep(_LOOK_S)

    @property
    def is_done(self) -> bool:
        """Whether it has killed often enough, and at every point but those that nothing came to in some tries."""
        open_points = [point for point in self._untried() if self.missed[point.number] < _TRIES]
        return self.daemons.kills >= self._limit and not open_points

    def _untried(self) -> list[Point]:
        return [point for point in POINTS if not self.daemons.points[point.number]]

    def _kill_at_random(self, calm: threading.Event) -> None:
        spans = [(0.0, 0.3)] * 4 + [(0.0, 2.0)] * 4 + [(5.0, 8.0)]  # now and then long enough to settle a doubt
        until = time.monotonic() + self._random.uniform(*self._random.choice(spans))
        while time.monotonic() < until and not calm.is_set():
            if self.daemons.serve():
                return
            time.sleep(_LOOK_S)
        self.daemons.kill()
        self.daemons.revive()

    def _kill_at(self, point: Point) -> None:
        """Waits until a submission is seen to come to the point, or sbatch says so."""
        before = self.daemons.points[point.number]
        has_come = self._watch(point)
        with self._ordered(point):
            until = time.monotonic() + _POINT_S
            while time.monotonic() < until and self.daemons.points[point.number] == before:
                if has_come():
                    self.daemons.kill()
                    self.daemons.points[point.number] += 1
                    self.daemons.revive()
                elif not self.daemons.serve():
                    time.sleep(_LOOK_S)
        self.missed[point.number] += self.daemons.points[point.number] == before

    def _watch(self, point: Point) -> Callable[[], bool]:
        if point.order:
            return lambda: False
        seen = passed(point, self._running())
        return lambda: bool(passed(point, self._running()) - seen)

    @contextlib.contextmanager
    def _ordered(self, point: Point) -> Iterator[None]:
        places = list({workflow.site.name: workflow.site for workflow in self._running()}.values())
        order = self._random.choice(places).shims.order(point.order) if point.order and places else None
        yield
        if order is not None:
            order.unlink(missing_ok=True)


class Weather:
    """Everything else that goes wrong, one after another. It lasts `haste` times as long as usual."""

    def __init__(self, places: list[Site], seed: int, haste: float) -> None:
        self.faults: Counter[str] = Counter()
        self.rounds = 0
        self._random = random.Random(seed)
        self._haste = haste
        remote = [site for site in places if site.sshd is not None]
        kind = [site for site in places if site.slurm.temper == "kind"]
        harsh = [site for site in places if site.slurm.temper == "harsh"]
        self._kinds: list[tuple[str, list[Site], Callable[[Site, threading.Event], bool]]] = [
            *((f"sbatch: {order}", remote, self._ordering(order)) for order in CUTTING),
            *((f"sbatch: {order}", places, self._ordering(order)) for order in LYING),
            ("connections cut", remote, lambda site, _: bool(site.sshd and site.sshd.kill_sessions())),
            ("sshd stopped", remote, self._lasting(Site.without_ssh, 3.0)),
            ("sshd hangs", remote, self._lasting(Site.frozen_ssh, 3.0)),
            ("slurmctld stopped", places, self._without_controller),
            ("accounts late", kind, self._lasting(lambda site: site.shims.accounts_late(), 8.0)),
            ("spool unwritable", places, self._lasting(Site.without_spool, 4.0)),
            ("node down", places, self._node_down),
            ("job cancelled by hand", places, lambda site, _: site.cancel_one(self._random)),
            ("job killed and forgotten unseen", harsh, lambda site, _: site.kill_unseen(self._random)),
            ("submitted again by hand", places, lambda site, _: site.submit_again()),
        ]

    def blow(self, calm: threading.Event) -> None:
        """Round after round, each kind once in every round."""
        while not calm.is_set():
            for name, places, harm in self._random.sample(self._kinds, len(self._kinds)):
                for _ in range(20):  # not every moment is one for it
                    calm.wait(self._random.uniform(0.1, 1.0) * self._haste)
                    if calm.is_set() or harm(self._random.choice(places), calm):
                        break
                self.faults[name] += not calm.is_set()
            self.rounds += 1

    def _ordering(self, what: str) -> Callable[[Site, threading.Event], bool]:
        def order(site: Site, calm: threading.Event) -> bool:
            file = site.shims.order(what)
            until = time.monotonic() + _ORDER_S
            while time.monotonic() < until and file.exists() and not calm.is_set():
                time.sleep(_LOOK_S)
            return not _withdraw(file)

        return order

    def _lasting(
        self, harm: Callable[[Site], contextlib.AbstractContextManager[None]], seconds: float
    ) -> Callable[[Site, threading.Event], bool]:
        def last(site: Site, calm: threading.Event) -> bool:
            with harm(site):
                calm.wait(seconds * self._haste)
            return True

        return last

    def _without_controller(self, site: Site, calm: threading.Event) -> bool:
        with site.without_controller():
            calm.wait((5.0 if self.faults["slurmctld stopped"] else _OUTAGE_S) * self._haste)
        return True

    def _node_down(self, site: Site, calm: threading.Event) -> bool:
        with site.node_down() as has_hit:
            calm.wait(2.0 * self._haste if has_hit else 0.0)
        return has_hit


class Squall:
    """A thread that blows until it is told to be calm; its error is raised then."""

    def __init__(self, name: str, blow: Callable[[threading.Event], None]) -> None:
        self.error: BaseException | None = None
        self._blow = blow
        self._calm = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._calm.set()
        self._thread.join()
        if self.error is not None and kind is None:
            raise self.error

    def _run(self) -> None:
        try:
            self._blow(self._calm)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for this one
            self.error = error


def _withdraw(order: Path) -> bool:
    """Takes an order back; False when it has been taken by somebody else."""
    try:
        order.unlink()
    except FileNotFoundError:
        return False
    return True
