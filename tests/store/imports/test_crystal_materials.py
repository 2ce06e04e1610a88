"""Materials with their calculations, properties and files become jobs of a chain, as far as it can be recognised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.engines.crystal.decks import OPTIMISATION
from tests.store.filled import workflow_row
from tests.store.imports.older import make_materials, prints
from tests.store.imports.test_architector import rows

from penstock.domain.views import Selection
from penstock.store.export import export_jobs
from penstock.store.imports.order import ImportOrder, ImportResult, write_import
from penstock.store.rows import NewStep

CHAIN = (NewStep("OPT", "fan"), NewStep("SP", "fan", "OPT"), NewStep("BAND", "fan", "SP"))


def write(tmp_path: Path, source: Path, *chain: NewStep) -> ImportResult:
    (tmp_path / "new").mkdir()
    return write_import(ImportOrder((str(source),), chain=chain), tmp_path / "new/workflow.db", workflow_row())


def jobs_of(tmp_path: Path) -> list[dict[str, Any]]:
    return rows(tmp_path / "new/workflow.db", "SELECT * FROM job ORDER BY id")


def salt(tmp_path: Path) -> Path:
    """One material with a whole chain, whose last step is under way."""
    work = tmp_path / "work/opt"
    work.mkdir(parents=True)
    (work / "salt.d12").write_text(OPTIMISATION)
    (work / "salt.out").write_text("nothing yet")
    shared = {"material_id": "salt"}
    return make_materials(
        tmp_path / "materials.db",
        materials=[shared],
        calculations=[
            {
                **shared,
                "calc_id": "salt_OPT_1",
                "status": "completed",
                "input_file": "work/opt/salt.d12",
                "output_file": "work/opt/salt.out",
                "work_dir": "work/opt",
                "started_at": "2025-06-18T15:00:01",
                "completed_at": "2025-06-18T15:00:31",
                "settings_json": '{"functional": "PBE0"}',
                "slurm_job_id": "4711",
            },
            {
                **shared,
                "calc_id": "salt_SP_1",
                "calc_type": "SP",
                "status": "failed",
                "slurm_state": "TIMEOUT",
                "created_at": "2025-06-18T16:00:00",
                "prerequisite_calc_id": "salt_OPT_1",
                "error_type": "timeout",
                "error_message": "out of time",
                "recovery_attempts": 2,
            },
            {
                **shared,
                "calc_id": "salt_BAND_1",
                "calc_type": "BAND",
                "input_file": "salt_band.d3",
                "created_at": "2025-06-18T17:00:00",
                "prerequisite_calc_id": "salt_SP_1",
            },
        ],
        properties=[
            {
                "calc_id": "salt_OPT_1",
                "property_name": "total_energy_au",
                "property_value": -622.5,
                "property_unit": "Hartree",
            },
            {"calc_id": "salt_OPT_1", "property_name": "band_gap", "property_value": 7.5, "property_unit": "eV"},
            {"property_name": "space_group_symbol", "property_value_text": "F m -3 m"},
        ],
        files=[
            {"calc_id": "salt_OPT_1", "file_path": "work/opt/salt.out", "file_size": 11, "checksum": "a" * 64},
            {"calc_id": "salt_OPT_1", "file_path": "work/opt/salt.f9", "checksum": "b" * 32},
        ],
    )


def test_a_chain_is_recognised(tmp_path: Path) -> None:
    source = salt(tmp_path)
    before = prints(tmp_path)
    result = write(tmp_path, source)
    assert prints(tmp_path, apart="new/") == before
    opt, sp, band = jobs_of(tmp_path)
    assert [job["step"] for job in (opt, sp, band)] == ["OPT", "SP", "BAND"]
    assert [job["state"] for job in (opt, sp, band)] == ["completed", "timeout", "waiting"]
    assert [job["parent_id"] for job in (opt, sp, band)] == [None, opt["id"], sp["id"]]
    assert {job["natoms"] for job in (opt, sp, band)} == {2}
    assert (opt["final_energy"], opt["wall_time_s"], opt["elements"]) == (-622.5, 30.0, "Na;Cl")
    assert (sp["failure"], sp["error_message"], sp["blamed"]) == ("walltime", "timeout: out of time", 3)
    database = tmp_path / "new/workflow.db"
    steps = rows(database, "SELECT key, after FROM step ORDER BY id")
    assert [(step["key"], step["after"]) for step in steps] == [("OPT", None), ("SP", "OPT"), ("BAND", "SP")]
    (attempt,) = rows(database, "SELECT * FROM attempt")
    assert (attempt["directory"], attempt["output"]) == (str(tmp_path / "work/opt"), "salt.out")
    assert result.counts == {"materials": 1, "jobs": 3, "properties": 3, "files": 2}
    assert result.remarks == {
        "of no calculation, given to the material's last": 1,
        "file is missing": 1,
        "its checksum is no SHA-256, left out": 1,
    }


def test_properties_have_units_and_files_their_places(tmp_path: Path) -> None:
    write(tmp_path, salt(tmp_path))
    database = tmp_path / "new/workflow.db"
    found = {row["name"]: (json.loads(row["value"]), row["unit"]) for row in rows(database, "SELECT * FROM property")}
    assert found["band_gap"] == (7.5, "eV")
    assert found["total_energy_au"] == (-622.5, "Hartree")
    assert found["space_group_symbol"] == ("F m -3 m", None)
    assert found["settings"] == ({"functional": "PBE0"}, None)
    assert found["slurm_job_id"] == ("4711", None)
    files = rows(database, "SELECT role, path, bytes, sha256 FROM file WHERE job_id IS NOT NULL ORDER BY id")
    assert files[0] == {"role": "output", "path": str(tmp_path / "work/opt/salt.out"), "bytes": 11, "sha256": "a" * 64}
    assert files[1]["sha256"] is None


def test_every_status_and_odd_rows(tmp_path: Path) -> None:
    statuses = ("pending", "submitted", "running", "completed", "failed", "cancelled", "on fire")
    source = make_materials(
        tmp_path / "materials.db",
        materials=[{"material_id": "m", "formula": "C2H4"}, {"material_id": "idle", "status": "archived"}],
        calculations=[
            *({"calc_id": f"c{n}", "material_id": "m", "status": status} for n, status in enumerate(statuses)),
            {"calc_id": "s", "material_id": "stranger", "calc_type": "?"},
            {"calc_id": "d", "material_id": "m", "calc_type": "SP", "prerequisite_calc_id": "nobody"},
            {"calc_id": "o", "material_id": "m", "calc_type": "BAND", "prerequisite_calc_id": "s"},
            {"calc_id": "g", "material_id": "m", "calc_type": "DOSS", "work_dir": "gone", "output_file": "gone/x.out"},
        ],
        properties=[
            {"calc_id": "c3", "property_name": "band_gap", "property_value": 1.0},
            {"calc_id": "c3", "property_name": "band_gap", "property_value": 2.0},
            {"calc_id": "nobody", "property_name": "band_gap", "property_value": 3.0},
            {"material_id": "idle", "property_name": "band_gap", "property_value": 4.0},
            {"calc_id": "c3", "property_name": "nothing"},
        ],
        files=[{"calc_id": "nobody", "file_path": "x"}],
        workflow_instances=[{"instance_id": "i"}],
    )
    result = write(tmp_path, source)
    jobs = {job["step"]: job for job in jobs_of(tmp_path)}
    states = [jobs[step]["state"] for step in ("OPT", "OPT2", "OPT3", "OPT4", "OPT5", "OPT6", "OPT7")]
    assert states == ["ready", "held", "held", "completed", "failed", "cancelled", "held"]
    assert {(job["natoms"], job["never_rerun"]) for job in jobs.values()} == {(0, 1)}
    assert jobs["OPT"]["elements"] == "C;H"
    assert result.counts == {"materials": 3, "jobs": 11, "properties": 1}
    assert result.left_out == {"properties": 3, "files": 1}
    assert result.remarks == {
        "a repeat of its step, numbered": 6,
        "was running, held": 2,
        "unknown status, held": 1,
        "no structure, kept as a record that never runs": 11,
        "its material is not in the table materials, made from its name": 1,
        "no usable calc_type": 1,
        "the calculation it goes on from is not there": 1,
        "goes on from another material's, not linked": 1,
        "output file is missing": 1,
        "directory is missing": 1,
        "status archived is not kept": 1,
        "takes the place of an older row of the same name": 1,
        "its calculation is not there": 2,
        "of a material without calculations": 1,
        "a property without a value": 1,
        "table not taken over": 1,
    }


def test_calculations_without_a_structure_are_left_out_of_files_of_structures(tmp_path: Path) -> None:
    source = make_materials(
        tmp_path / "m.db", materials=[{"material_id": "m"}], calculations=[{"calc_id": "c", "material_id": "m"}]
    )
    write(tmp_path, source)
    database = tmp_path / "new/workflow.db"
    counts = [
        export_jobs(database, "w", what, tmp_path / what, Selection(), overwrite=False)
        for what in ("csv", "json", "extxyz", "ase")
    ]
    assert counts == [1, 1, 0, 0]


def test_a_chain_of_a_spec_is_completed(tmp_path: Path) -> None:
    source = salt(tmp_path)
    more = make_materials(
        tmp_path / "more.db",
        materials=[{"material_id": "salt"}, {"material_id": "rock"}],
        calculations=[
            {"calc_id": "r", "material_id": "rock", "input_file": "work/opt/salt.d12"},
            {"calc_id": "s", "material_id": "salt", "status": "completed", "input_file": "work/opt/salt.d12"},
            {"calc_id": "f", "material_id": "salt", "calc_type": "FREQ", "created_at": "2026"},
        ],
    )
    assert source.exists()
    result = write(tmp_path, more, *CHAIN)
    jobs = {(job["name"], job["step"]): job for job in jobs_of(tmp_path)}
    states = {key: job["state"] for key, job in jobs.items()}
    assert states == {
        ("rock", "OPT"): "ready",
        ("rock", "SP"): "waiting",
        ("rock", "BAND"): "waiting",
        ("salt", "OPT"): "completed",
        ("salt", "SP"): "skipped",
        ("salt", "BAND"): "skipped",
        ("salt", "FREQ"): "skipped",
    }
    assert jobs["salt", "BAND"]["parent_id"] == jobs["salt", "SP"]["id"]
    assert result.remarks["its step is not in the spec's chain, skipped"] == 1
    assert result.states == {"ready": 1, "waiting": 2, "completed": 1, "skipped": 3}
