"""A daemon before a real Slurm behind SSH, with a bit of all that operators look at, and a real Prometheus on it."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from monitoring.grafana.make import FOLDER as BOARDS
from monitoring.grafana.reader import filled, read_panels
from tests.monitoring.promql import operands
from tests.services.daemons import free_ports
from tests.services.prometheus import RealPrometheus
from tests.system.backends import NAME, Backend
from tests.system.conftest import Gate, eventually, toml

from penstock.domain.views import Selection

ROOT: Final = Path(__file__).parents[2]
_PROMETHEUS: Final = ROOT / "monitoring" / "prometheus"
STAND_IN: Final = ROOT / "tests" / "standins" / "orca"
WINDOW: Final = "20s"
"""What stands for `$__rate_interval` at a scrape each second: a dashboard's least is four scrapes."""
_LICENSED: Final = ("licensed-a", "licensed-b")
_ALIKE: Final = ("alike-a", "alike-b")
_MOLECULES: Final = {
    "water": "O 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477",
    "scf": "He 0 0 0",
    "crash": "Rn 0 0 0",
}
_SILENT: Final = "penstock_actors_silent"
"""Only there where the daemon checks the health of its actors."""
_SOME_FAIL: Final = "sleep 0.$((PENSTOCK_JOB_ID % 10)); test $((PENSTOCK_JOB_ID % 5)) != 0"


class Monitored:
    """The daemon of `backend`, what it runs, and the Prometheus that scrapes it each second under the rules of ours."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.daemon = backend, backend.daemon
        [self.port] = free_ports(1)
        self.began = time.time()

    @classmethod
    @contextlib.contextmanager
    def ready(cls, backend: Backend) -> Iterator[Monitored]:
        """Both run. The backend is the caller's to close, the Prometheus is ended here."""
        found = cls(backend)
        found.start()
        with RealPrometheus(found.configuration()) as found.prometheus:
            eventually(lambda: found.prometheus.query("penstock_build_info"), "the daemon is scraped")
            yield found

    prometheus: RealPrometheus

    @property
    def values(self) -> Mapping[str, str]:
        """Of Grafana's variables."""
        every = {"instance": f"127.0.0.1:{self.port}", "cluster": ".*"}
        return every | {"workflow": "screen", "__rate_interval": WINDOW}

    def start(self) -> None:
        """Start the daemon with metrics, a licence and a local cluster beside Slurm, and wait until both are up."""
        shutil.copy(STAND_IN, self.backend.home)
        self.backend.configure(submits_per_min=60)
        more = f'[daemon]\nmetrics = "127.0.0.1:{self.port}"\n[resources.licence]\ncount = 1\n'
        clusters = self.daemon.config.read_text(encoding="utf-8")
        self.daemon.config.write_text(f"{more}{clusters}[clusters.local]\ncores = 8\n", encoding="utf-8")
        self.daemon.start()
        self.backend.wait_up()

    def configuration(self) -> str:
        """The configuration that ships, with this daemon's address, a scrape each second, and absolute names."""
        settings: dict[str, Any] = yaml.safe_load((_PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
        settings["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
        settings["rule_files"] = [str(_PROMETHEUS / name) for name in settings["rule_files"]]
        [job] = settings["scrape_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{self.port}"]}]
        text: str = yaml.safe_dump(settings)
        return text

    # ---- what it runs ----

    def begin(self, gate: Gate, *, jobs: int = 15) -> None:
        """Failures and retries on Slurm, a remedy, waits for a licence, held jobs, a paused and a faulted workflow.

        Of two workflows that share results one waits for what the other calculates.

        `screen` has a job that waits at the gate, so that it is there for as long as it is looked at.
        """
        script = f"{_SOME_FAIL} && if [ $PENSTOCK_JOB_ID = 1 ]; then {gate.script}; fi"
        self.submit("screen", script, NAME, jobs, gate, slots=6, retry={"max_attempts": 2})
        self.submit("later", "sleep 1", NAME, 3, slots=1)
        self.daemon.client.pause("later")
        for name in _LICENSED:
            self.submit(name, "sleep 0.5", "local", 2, slots=2, locks={"resources": {"licence": 1}})
        for name in _ALIKE:
            self.submit(name, "sleep 3", "local", 1, slots=1, isolation="shared")
        self.submit_orca("orca")
        damaged = self.submit("damaged", "sleep 1", "local", 4, slots=1)
        eventually(lambda: self._open("damaged").get("running"), "it works")
        (damaged / "workflow.db").unlink()
        self.submit("held", "sleep 1", NAME, 10, slots=1)
        eventually(lambda: self._open("held").get("ready"), "its jobs are there")
        self.daemon.client.pause("held", Selection(statuses=("ready",)))
        gate.next_started()

    def settle(self) -> None:
        """Wait until all of that has ended but for the job at the gate."""
        for name in (*_LICENSED, *_ALIKE, "orca"):
            self.daemon.wait(name)
        eventually(lambda: self.daemon.state_of("damaged") == "faulted", "a workflow is faulted")
        eventually(lambda: self._open("screen") == {"running": 1}, "one job is left")

    def _open(self, id: str) -> dict[str, int]:
        states = self.daemon.client.status(id).workflow.states
        return {state: count for state, count in states.items() if state not in ("completed", "failed")}

    def submit(self, id: str, script: str, cluster: str, jobs: int, gate: Gate | None = None, **settings: Any) -> Path:
        """A campaign; its directory."""
        paths = gate.paths if gate else ()
        return self.daemon.submit_command(id, script, *paths, jobs=jobs, cluster=cluster, **settings)

    def submit_orca(self, id: str) -> None:
        """Three molecules for the stand-in: one is well, one is mended by a rule, one is not."""
        folder = self.daemon.work / "molecules"
        folder.mkdir(exist_ok=True)
        for name, atoms in _MOLECULES.items():
            (folder / f"{name}.xyz").write_text(f"{len(atoms.splitlines())}\n\n{atoms}\n", encoding="utf-8")
        engine = {"name": "orca", "command": str(self.backend.home / "orca"), "method": "B3LYP", "basis": "def2-SVP"}
        spec = {
            "id": id,
            "recipe": "campaign",
            "cluster": "local",
            "slots": 3,
            "structures": {"source": "molecules", "format": "xyz"},
            "engine": engine | {"task": "energy"},
            "resources": {"memory": "900MB", "walltime": "1min"},
        }
        self.daemon.submit(toml(spec))

    # ---- what is seen of it ----

    def expressions(self) -> dict[str, str]:
        """Every expression of a panel, and of the rules what needs data on a quiet day; by where it stands."""
        found = {}
        for path in sorted(BOARDS.glob("*.json")):
            for panel in read_panels(path):
                for place, target in enumerate(panel.targets):
                    found[f"{path.stem}: {panel.title} {place}"] = filled(target.expression, self.values)
        for group in yaml.safe_load((_PROMETHEUS / "penstock.rules.yml").read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                for place, operand in enumerate(operands(rule["expr"])):
                    found[f"rule {rule['alert']} {place}"] = operand
        if not self._has_data(_SILENT):
            return {place: asked for place, asked in found.items() if asked != _SILENT}
        return found

    def without_data(self, expressions: Mapping[str, str]) -> dict[str, str]:
        """Those that have had no finite value since the beginning."""
        return {place: asked for place, asked in expressions.items() if not self._has_data(asked)}

    def _has_data(self, expression: str) -> bool:
        times = {"start": str(self.began), "end": str(time.time()), "step": "1"}
        found = self.prometheus.get("query_range", {"query": expression, **times})["result"]
        return any(value not in ("NaN", "+Inf", "-Inf") for series in found for _, value in series["values"])
