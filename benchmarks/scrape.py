"""What a scrape costs: its time and size by number of workflows, the daemon's CPU, and how long clients wait meanwhile.

The baseline of time is the client library's own exposition of as many plain gauges, made in this process in turn with
the scrapes, without a server around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import threading
import time
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from benchmarks.daemon import BenchDaemon, bench_daemon, render_spec
from benchmarks.process import cpu_s
from benchmarks.report import Figure, Options, Report, at_most, compare
from benchmarks.sources import write_molecules
from penstock.domain.views import WorkflowInfo
from penstock.store.catalogue import Catalogue

_STATES: Final = ("ready", "queued", "running", "collecting", "completed", "failed")
_INTERVAL_S: Final = 15.0
_SCALE: Final = 30


def run(options: Options) -> Report:
    """One daemon for each number of workflows; they are known from the catalogue and have no work."""
    sizes = [(10, 200), (50, 200)] if options.quick else [(10, 200), (200, 200), (1000, 200), (1000, 1000)]
    rounds, window_s = (5, 5.0) if options.quick else (40, 60.0)
    figures: list[Figure] = []
    for workflows, shown in sizes:
        root = options.scratch / f"{workflows}-{shown}"
        path = root / "metrics.sock"
        config = f'[daemon]\nmetrics = "unix:{path}"\nmetrics_workflows = {shown}\n'
        with bench_daemon(root, config) as daemon:
            _fill_daemon(daemon, workflows)
            what = f"{workflows} workflows, {min(workflows, shown)} of them shown"
            figures += _time(path, what, rounds, aim=workflows == 200)
            if workflows == (50 if options.quick else 200):
                figures += _disturbance(daemon, path, what, rounds)
                figures.append(_cpu(daemon, path, what, window_s))
    parameters = {"rounds": rounds, "window_s": window_s, "interval_s": _INTERVAL_S, "scale": _SCALE}
    return Report("scrape", "Metrics of the daemon", parameters, figures)


def _time(path: Path, what: str, rounds: int, *, aim: bool) -> list[Figure]:
    page = scrape(path)
    series = sum(not line.startswith(b"#") for line in page.splitlines())
    registry = _plain_gauges(series)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(_ms(lambda: scrape(path)))
        theirs.append(_ms(lambda: generate_latest(registry)))
    limit = at_most(20) if aim else None
    return [
        compare(f"a scrape, {what}", "ms", ours, theirs, limit),
        Figure(f"its series, {what}", "", series),
        Figure(f"its size, {what}", "kB", len(page) / 1000),
    ]


def _disturbance(daemon: BenchDaemon, path: Path, what: str, rounds: int) -> list[Figure]:
    """How long a client waits for its answer while one scrape follows another, beside no scrapes."""
    pings = rounds * 10
    calm = [_ms(daemon.client.ping) for _ in range(pings)]
    stop = threading.Event()

    def scrape_on() -> None:
        while not stop.is_set():
            scrape(path)

    thread = threading.Thread(target=scrape_on)
    thread.start()
    try:
        scraped = [_ms(daemon.client.ping) for _ in range(pings)]
    finally:
        stop.set()
        thread.join()
    return [
        compare(f"ping while scraped without a pause, {what}", "ms", scraped, calm),
        Figure(f"the longest of {pings} pings, {what}", "ms", max(scraped), max(calm)),
    ]


def _cpu(daemon: BenchDaemon, path: Path, what: str, window_s: float) -> Figure:
    """CPU with a scrape every 15 s: the cost of one, measured over scrapes 30 times as often, on top of rest."""
    began, spent = time.monotonic(), cpu_s(daemon.pid)
    time.sleep(window_s)
    rest = (cpu_s(daemon.pid) - spent) / (time.monotonic() - began)
    began, spent, scrapes = time.monotonic(), cpu_s(daemon.pid), 0
    while time.monotonic() - began < window_s:
        scrape(path)
        scrapes += 1
        time.sleep(max(0.0, began + scrapes * _INTERVAL_S / _SCALE - time.monotonic()))
    often = (cpu_s(daemon.pid) - spent) / (time.monotonic() - began)
    one_s = max(0.0, often - rest) * window_s / scrapes
    return Figure(f"CPU, scraped every 15 s, beside not, {what}", "%", 100 * (rest + one_s / _INTERVAL_S), 100 * rest)


def scrape(path: Path) -> bytes:
    """The page, over the socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        pieces = []
        while piece := client.recv(1 << 20):
            pieces.append(piece)
    head, _, page = b"".join(pieces).partition(b"\r\n\r\n")
    if b" 200 " not in head:
        raise RuntimeError(head.decode(errors="replace"))
    return page


def _plain_gauges(series: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    gauge = Gauge("plain_gauge", "As many", ["workflow", "cluster", "state"], registry=registry)
    for number in range(series):
        gauge.labels(f"workflow-{number // 6}", "local", _STATES[number % 6]).set(number)
    return registry


def _ms(do: object) -> float:
    began = time.perf_counter()
    assert callable(do)
    do()
    return (time.perf_counter() - began) * 1000


def _fill_daemon(daemon: BenchDaemon, workflows: int) -> None:
    """It finds so many in its catalogue. Their directories are gone, so they are faulted: shown, and at rest."""
    write_molecules(daemon.root / "molecules.csv", 5)
    daemon.submit(render_spec("real", "molecules.csv", {"name": "command", "command": "true"}))
    like = daemon.wait("real")
    daemon.terminate()
    asyncio.run(_fill(next(daemon.root.rglob("catalogue.db")), like, workflows))
    daemon.spawn()
    daemon.wait_until_up()
    states = statistics.multimode(info.state for info in daemon.client.list_workflows().workflows)
    if states != ["faulted"]:
        raise RuntimeError(f"the workflows are {states}, not faulted")


async def _fill(path: Path, like: WorkflowInfo, workflows: int) -> None:
    catalogue = Catalogue(path, contextlib.nullcontext)
    await catalogue.open()
    for n in range(workflows):
        states = {state: n + rank for rank, state in enumerate(_STATES, 1)}
        info = msgspec.structs.replace(
            like,
            id=f"campaign-{n:04}",
            directory=f"{like.directory}-{n}",
            state="running",
            states=states,
            jobs=sum(states.values()),
            rejected=3,
        )
        await catalogue.add(info.id, info.directory)
        await catalogue.update(info)
    await catalogue.close()
