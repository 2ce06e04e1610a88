"""What the results of a workflow that shared nothing would be called among others, and digests of what they say."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from penstock.domain.sameness import calculation_key, material_key, method_key
from penstock.engines.method import key_of_method

_ROWS: Final = """
    SELECT j.id, j.material_id, j.step_id, j.method, j.geometry, j.charge, j.spin, j.deck,
        json_array(j.state, j.final_energy, j.max_forces, j.scf_steps, j.wall_time_s, j.final_geometry, j.failure,
            j.error_message, j.job_dir, j.attempts,
            (SELECT json_group_array(json_array(p.name, p.value, p.unit)) FROM {source}.property p
             WHERE p.job_id = j.id),
            (SELECT json_group_array(json_array(f.path, f.sha256)) FROM {source}.file f WHERE f.job_id = j.id))
    FROM {source}.job j WHERE j.workflow_id = ? AND {wanted} ORDER BY j.material_id, j.id
"""
_INSERT: Final = "INSERT INTO temp.incoming (job_id, material_id, key, calculation, digest) VALUES (?, ?, ?, ?, ?)"


def name_results(db: sqlite3.Connection, workflow_id: str, schema: str, wanted: str) -> None:
    """Fills `temp.incoming` with the workflow's jobs that `wanted` (SQL) holds: keys and digests."""
    db.executemany(_INSERT, _named(db, workflow_id, schema, wanted))


def _named(db: sqlite3.Connection, workflow_id: str, schema: str, wanted: str) -> Iterator[tuple[Any, ...]]:
    methods = _methods(db, workflow_id, schema)
    own: dict[str, str] = {}
    material, key = None, ""
    for id_, material_id, step_id, method, *what, content in db.execute(
        _ROWS.format(source=schema, wanted=wanted), (workflow_id,)
    ):
        if material_id != material:  # all jobs of a material begin from the same structure
            material, key = material_id, material_key(*what)
        if method is None:
            how = methods[step_id]
        elif (how := own.get(method, "")) == "":
            how = own[method] = _own_method(method)
        digest = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
        yield id_, material_id, key, calculation_key(key, how), digest


def _methods(db: sqlite3.Connection, workflow_id: str, schema: str) -> dict[int, str]:
    """By step, the key of how its jobs are calculated, the steps before it included; as the daemon names them."""
    spec, parameters = db.execute(
        f"SELECT spec, parameters FROM {schema}.workflow WHERE workflow_id = ?", (workflow_id,)
    ).fetchone()
    engine = msgspec.json.decode(spec)["engine"]["name"]
    known: dict[str | None, str] = {None: ""}
    found: dict[int, str] = {}
    for id_, key, after, own in db.execute(
        f"SELECT id, key, after, parameters FROM {schema}.step WHERE workflow_id = ? ORDER BY id", (workflow_id,)
    ):
        found[id_] = known[key] = method_key(engine, own or parameters, known[after])
    return found


def _own_method(method: str) -> str:
    given = msgspec.json.decode(method)
    return key_of_method(given["engine"], given["parameters"])
