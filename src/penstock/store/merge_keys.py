"""What the results of a workflow that shared nothing would be called among others, and digests of what they say."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from penstock import engines
from penstock.domain.sameness import calculation_key, material_key, method_key
from penstock.domain.subject import overlaid
from penstock.engines.method import key_of_method

_ROWS: Final = """
    SELECT j.id, j.parent_id, j.state = 'completed' AND j.parameters IS NULL, j.material_id, j.step_id, j.method,
        j.own, j.geometry, j.charge, j.spin, j.deck, m.name,
        json_array(j.state, j.final_energy, j.max_forces, j.scf_steps, j.wall_time_s, j.final_geometry, j.failure,
            j.error_message, j.job_dir, j.attempts,
            (SELECT json_group_array(json_array(p.name, p.value, p.unit)) FROM {source}.property p
             WHERE p.job_id = j.id),
            (SELECT json_group_array(json_array(f.path, f.sha256)) FROM {source}.file f WHERE f.job_id = j.id))
    FROM {source}.job j JOIN {source}.material m ON m.id = j.material_id
    WHERE j.workflow_id = ? AND {wanted} ORDER BY j.material_id, j.id
"""
_UNFOLD: Final = "unfold"
_INSERT: Final = "INSERT INTO temp.incoming (job_id, material_id, key, calculation, digest) VALUES (?, ?, ?, ?, ?)"


def name_results(db: sqlite3.Connection, workflow_id: str, schema: str, wanted: str) -> None:
    """Fills `temp.incoming` with the workflow's jobs that `wanted` (SQL) holds: keys and digests."""
    db.executemany(_INSERT, _named(db, workflow_id, schema, wanted))


def _named(db: sqlite3.Connection, workflow_id: str, schema: str, wanted: str) -> Iterator[tuple[Any, ...]]:
    methods = _methods(db, workflow_id, schema)
    own: dict[str, str] = {}
    material, key = None, ""
    plain: set[int] = set()
    for id_, parent, is_plain, material_id, step_id, method, over, *what, name, content in db.execute(
        _ROWS.format(source=schema, wanted=wanted), (workflow_id,)
    ):
        if material_id != material:  # its jobs go on from one another, and the first has the structure that was read
            geometry, charge, multiplicity, deck = what if parent is None else _first_of(db, schema, parent)
            key = material_key(geometry, charge, multiplicity, deck, name if methods.by_name else None)
            material, plain = material_id, set()
        if step_id in methods.unfolded:
            how = method_key(methods.engine, overlaid(methods.unfolded[step_id], over))
        elif method is None:
            how = methods.keys[step_id]
        elif (how := own.get(method, "")) == "":
            how = own[method] = _own_method(method)
        digest = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
        # as `chain` has it: what went on from another result than the one that its key is about is nobody else's
        calculation = calculation_key(key, how) if parent is None or parent in plain else None
        if is_plain and calculation is not None:
            plain.add(id_)
        yield id_, material_id, key, calculation, digest


def _first_of(db: sqlite3.Connection, schema: str, job: int) -> tuple[Any, ...]:
    """Geometry, charge, multiplicity and deck of the job that the chain of `job` begins with."""
    parent: int | None = job
    while parent is not None:
        parent, *what = db.execute(
            f"SELECT parent_id, geometry, charge, spin, deck FROM {schema}.job WHERE id = ?", (parent,)
        ).fetchone()
    return tuple(what)


class _Methods(NamedTuple):
    """How a workflow's jobs are calculated, by step; as the daemon names it.

    `keys` include the steps before. `unfolded` are the parameters (JSON) of steps whose jobs were made of results: they
    stand for themselves, with what each has of its own. `by_name`: it depends on what a material is called.
    """

    engine: str
    keys: dict[int, str]
    unfolded: dict[int, str]
    by_name: bool


def _methods(db: sqlite3.Connection, workflow_id: str, schema: str) -> _Methods:
    spec, parameters = db.execute(
        f"SELECT spec, parameters FROM {schema}.workflow WHERE workflow_id = ?", (workflow_id,)
    ).fetchone()
    engine = msgspec.json.decode(spec)["engine"]["name"]
    known: dict[str | None, str] = {None: ""}
    by_name = engines.depends_on_name(engine, parameters)
    found: dict[int, str] = {}
    unfolded: dict[int, str] = {}
    for id_, key, kind, after, own in db.execute(
        f"SELECT id, key, kind, after, parameters FROM {schema}.step WHERE workflow_id = ? ORDER BY id", (workflow_id,)
    ):
        found[id_] = known[key] = method_key(engine, own or parameters, known[after])
        by_name |= engines.depends_on_name(engine, own or "")
        if kind == _UNFOLD:
            unfolded[id_] = own or parameters
    return _Methods(engine, found, unfolded, by_name)


def _own_method(method: str) -> str:
    given = msgspec.json.decode(method)
    return key_of_method(given["engine"], given["parameters"])
