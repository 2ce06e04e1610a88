import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.engines.crystal.decks import EXPLICIT, OPTIMISATION, SLAB
from tests.engines.crystal.outputs import STAND_IN

from penstock.domain.calculation import Calculation, Exit
from penstock.domain.errors import SpecError
from penstock.engines.crystal.deck import parse_deck
from penstock.engines.crystal.deck_size import Size, size_of, with_size
from penstock.engines.crystal.engine import CrystalEngine

ENGINE = CrystalEngine()
NOTE = "# penstock: 40 orbitals, 28 electrons, atoms 11x1 17x1\n"
TASKS = ("band", "doss", "transport", "charge_potential")


def rendered(task: str, deck: str = OPTIMISATION + NOTE, **table: Any) -> list[str]:
    parameters = ENGINE.parameters({"task": task, **table}, str)
    calculation = Calculation("salt", "1\n\nNa 0 0 0\n", 0, 1, 1, 4000, 8, deck, ("fort.9",))
    return ENGINE.render(calculation, parameters).files["INPUT"].splitlines()


def refused(task: str, deck: str, **table: Any) -> str:
    with pytest.raises(SpecError) as raised:
        rendered(task, deck, **table)
    return str(raised.value)


def test_bands_follow_the_path_of_the_lattice_over_all_of_them() -> None:
    lines = rendered("band", band={"points": 500})
    assert lines[0] == "BAND"
    assert lines[1].startswith("salt - G-X")
    segments, shrink, points, first, last = map(int, lines[2].split()[:5])
    assert (points, first, last) == (500, 1, 40)
    assert len(lines) == segments + 4
    assert lines[-1] == "END"
    assert max(int(x) for line in lines[3:-1] for x in line.split()[:6]) <= shrink
    assert rendered("band", OPTIMISATION, band={"bands": [5, 9]})[2].split()[3:5] == ["5", "9"]


def test_the_density_of_states_is_projected_on_elements() -> None:
    lines = rendered("doss", doss={"points": 200, "mesh": 2})
    assert lines[:6] == ["NEWK", "0 32", "16 16 16", "1 0", "DOSS", "2 200 1 40 2 14 0"]
    assert lines[6:8] == ["-1 1", "-1 2"]
    window = rendered("doss", doss={"energies_hartree": [-1.0, 0.5], "projections": "none"})
    assert window[5].startswith("0 10000 -1 -1")
    groups = rendered("doss", doss={"groups": [[1, 2]]})
    assert "-2 1 2" in groups
    assert "-1 2" in rendered("doss", OPTIMISATION, doss={"bands": [1, 5]})


def test_transport_and_maps() -> None:
    lines = rendered("transport", transport={"temperatures_k": [300, 500, 100], "mesh": 3})
    assert lines[:3] == ["NEWK", "0 48", "24 24 24"]
    assert lines[lines.index("TRANGE") + 1].split() == ["300", "500", "100"]
    assert rendered("charge_potential") == ["ECH3", "100", "POT3", "100", "5", "END"]
    assert rendered("charge_potential", SLAB, charge_potential={"points": 80, "scale": 2.0})[:4] == [
        "ECH3",
        "80",
        "SCALE",
        "2",
    ]


def test_what_cannot_be_known_or_done_is_said() -> None:
    assert "give [engine.band] bands" in refused("band", OPTIMISATION)
    assert "molecule" in refused("band", EXPLICIT, band={"bands": [1, 3]})
    assert "SHRINK" in refused("doss", EXPLICIT, doss={"bands": [1, 3], "projections": "none"})
    assert 'projections = "none"' in refused("doss", SLAB, doss={"bands": [1, 3]})
    assert "no more than 15" in refused("doss", OPTIMISATION + NOTE, doss={"groups": [[1]] * 16})
    assert "no range" in refused("transport", OPTIMISATION, transport={"temperatures_k": [500, 300, 10]})


def test_the_size_of_a_cell_is_noted_once_and_read_back() -> None:
    deck = parse_deck(OPTIMISATION)
    first, second = Size(10, 20, (6, 6, 282, 6)), Size(11, 20, (1,))
    assert size_of(with_size(deck, first).rest) == first
    both = with_size(with_size(deck, first), second)
    assert size_of(both.rest) == second
    assert len(both.rest) == 1
    assert size_of(deck.rest) is None


@pytest.mark.parametrize("task", TASKS)
def test_the_stand_in_answers_every_task_of_properties(tmp_path: Path, task: str) -> None:
    (tmp_path / "fort.9").write_text("wavefunction of salt")
    parameters = ENGINE.parameters({"task": task, "properties": [str(STAND_IN), "properties"]}, str)
    calculation = Calculation("salt", "1\n\nNa 0 0 0\n", 0, 1, 1, 4000, 8, OPTIMISATION + NOTE, ("fort.9",))
    attempt = ENGINE.render(calculation, parameters)
    assert attempt.argv is not None
    for name, text in attempt.files.items():
        (tmp_path / name).write_text(text)
    with (tmp_path / "stdout").open("wb") as output:
        done = subprocess.run(attempt.argv, cwd=tmp_path, stdout=output, check=False)
    outcome = ENGINE.read(tmp_path, Exit(done.returncode, None, 0.0, 1.0), parameters)
    assert outcome.failure is None
    assert outcome.deck == OPTIMISATION + NOTE
    assert len(outcome.files) > 3
