"""The calculations of a context: jobs whose results the library user brings, beside those of a daemon."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from penstock.context.materials import Material, stored_key
from penstock.context.values import FORCES, encode_method, encode_property, finite_number, force_rows, geometry_block
from penstock.domain.calculation import FailureClass
from penstock.domain.context import Mode
from penstock.domain.errors import ConflictError, NotFoundError, SpecError
from penstock.domain.sameness import calculation_key
from penstock.domain.spec import nearest
from penstock.domain.states import ENDED, JobState
from penstock.domain.views import JobInfo, Selection
from penstock.engines.method import key_of_method
from penstock.store import library, queries
from penstock.store.events import Event
from penstock.store.rows import job_directory

if TYPE_CHECKING:
    import sqlite3

    from penstock.context.opened import OpenContext

_NONE_MORE: Final = 10_000


class Calculation:
    """One calculation of a material: a job of the workflow. It holds nothing open and may be used in any thread."""

    def __init__(self, context: OpenContext, job_id: int) -> None:
        self._context = context
        self.id = job_id

    def __repr__(self) -> str:
        return f"<calculation {self.id} of {self._context.id}>"

    @property
    def directory(self) -> Path:
        """Where its files belong; made when it is asked for."""
        path = self._context.directory / job_directory(self.id)
        if self._context.read_only_because is None:
            path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def info(self) -> JobInfo:
        """Its row: name, state, energy (Eh) and so on, as it is now."""
        return self.record().job

    @property
    def state(self) -> str:
        """`held` until there is a result; then `completed` or `failed`."""
        return self.info.state

    @property
    def has_ended(self) -> bool:
        """Whether there is a result, good or bad."""
        return self.state in ENDED

    @property
    def origin(self) -> dict[str, Any] | None:
        """Where the result was taken over from (workflow, job, attempt, directory); None for one of its own."""
        with self._context.reading() as db:
            (origin,) = db.execute("SELECT origin FROM job WHERE id = ?", (self.id,)).fetchone()
        return None if origin is None else dict(msgspec.json.decode(origin))

    def record(self) -> queries.JobRecord:
        """Everything that is known of it: geometries, properties, files, history."""
        context = self._context
        context.check_open()
        return queries.load_job(context.database, context.directory, context.id, self.id)

    def complete(
        self,
        *,
        energy_hartree: float | None = None,
        forces_hartree_per_bohr: Any = None,
        geometry: str | None = None,
        scf_cycles: int | None = None,
        wall_time_s: float | None = None,
        properties: Mapping[str, Any] | None = None,
        files: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        """Records a good result; said again, the new one counts.

        `forces_hartree_per_bohr` has one row of three components an atom; `geometry` is the final one, as text (Å).
        `properties` are values that JSON can hold. `files` lie in `directory`, in the context's storage, or elsewhere
        below the workflow's directory. SpecError for a value that cannot be, ConflictError for a job of the daemon's.
        """
        columns: dict[str, Any] = {"failure": None, "error_message": None, "origin": None}
        columns |= {
            "final_energy": (energy := finite_number("energy_hartree", energy_hartree)),
            "scf_steps": None if scf_cycles is None else int(scf_cycles),
            "wall_time_s": finite_number("wall_time_s", wall_time_s),
            "final_geometry": None if geometry is None else geometry_block(geometry),
        }
        values = dict(properties or {})
        forces = force_rows(forces_hartree_per_bohr, self.info.natoms)
        if forces:
            values[FORCES] = forces
            columns["max_forces"] = max(abs(x) for row in forces for x in row)
        encoded = {name: encode_property(name, value) for name, value in values.items()}
        data = {"status": "completed"} | ({} if energy is None else {"energy_hartree": energy})
        listed = self._listed(files)
        with self._context.writing() as db:
            self._refuse_daemons(db)
            library.end_job(db, self._context.value, self.id, JobState.COMPLETED, columns, _said(self.id, data))
            library.set_properties(db, self._context.value, self.id, encoded)
            library.add_files(db, self._context.value, self.id, listed)

    def fail(self, message: str, failure: str = FailureClass.ENGINE_ERROR) -> None:
        """Records that it failed, and why; `failure` is a class of failures."""
        known = [str(one) for one in FailureClass]
        if failure not in known:
            raise SpecError(f"{failure!r} is no class of failures; {nearest(failure, known) or ', '.join(known)}")
        columns = {"failure": failure, "error_message": message, "final_energy": None, "max_forces": None}
        event = _said(self.id, {"status": "failed", "failure": failure}, message)
        with self._context.writing() as db:
            self._refuse_daemons(db)
            library.end_job(db, self._context.value, self.id, JobState.FAILED, columns, event)

    def set_properties(self, **properties: Any) -> None:
        """Adds properties to it, or replaces those of the same names."""
        encoded = {name: encode_property(name, value) for name, value in properties.items()}
        with self._context.writing() as db:
            self._refuse_daemons(db)
            library.set_properties(db, self._context.value, self.id, encoded)

    def _refuse_daemons(self, db: sqlite3.Connection) -> None:
        (method,) = db.execute("SELECT method FROM job WHERE id = ?", (self.id,)).fetchone()
        if method is None:
            raise ConflictError(
                f"job {self.id} of workflow {self._context.id} is the daemon's, not made through the library; "
                f"what is recorded of it is changed by 'penstockctl set-job {self._context.id} {self.id}'"
            )

    def _listed(self, files: Iterable[str | os.PathLike[str]]) -> list[tuple[str, int]]:
        """Paths from the workflow's directory, and sizes in bytes."""
        context, listed = self._context, []
        top = context.directory.resolve()
        for file in files:
            path = Path(os.path.abspath(file)).resolve()  # noqa: PTH100 - a relative one is one of the working directory
            if not path.is_file():
                raise SpecError(f"{file} is not a file")
            if not any(path.is_relative_to(place.resolve()) for place in (context.directory, context.storage)):
                raise SpecError(
                    f"{file} is outside of the workflow; put it into the calculation's `directory` or below `path(...)`"
                )
            listed.append((os.path.relpath(path, top), path.stat().st_size))
        return listed


class Calculations:
    """The workflow's own calculations, and in shared mode a way to those of others."""

    def __init__(self, context: OpenContext) -> None:
        self._context = context

    def add(
        self, material: Material | str, engine: str, parameters: Mapping[str, Any] | None = None, *, reuse: bool = True
    ) -> Calculation:
        """The calculation of a material with an engine and its parameters (values that JSON can hold).

        The same asked for again is the same calculation. In shared mode one that any workflow has completed is linked:
        it comes with its result, and `origin` says whose it is; not with `reuse=False`.
        """
        wanted = self._context.materials.get(material) if isinstance(material, str) else material
        method = encode_method(engine, parameters)
        context = self._context
        key = stored_key(context, _key(wanted, engine, method))
        with context.writing() as db:
            row = self._own_material(db, wanted)
            if found := library.find_jobs(db, context.id, row.id, method):
                return Calculation(context, found[0])
            job_id = library.insert_job(db, context.value, row, method, key)
            if reuse and key is not None and (other := library.find_result(db, key, job_id)) is not None:
                library.take_over(db, context.value, job_id, other)
        return Calculation(context, job_id)

    def find(
        self, material: Material | str, engine: str, parameters: Mapping[str, Any] | None = None
    ) -> JobInfo | None:
        """A completed calculation of the same structure, charge and spin by the same method; None where there is none.

        In shared mode it may be any workflow's, by a daemon's engine too; else one of this workflow's own.
        """
        wanted = self._context.materials.get(material) if isinstance(material, str) else material
        method = encode_method(engine, parameters)
        context = self._context
        with context.reading() as db:
            if context.mode is Mode.SHARED:
                job_id = library.find_result(db, _key(wanted, engine, method))
            else:
                own = (
                    job for row in self._same(db, wanted) for job in library.find_jobs(db, context.id, row.id, method)
                )
                job_id = next((job for job in own if library.is_completed(db, job)), None)
            if job_id is None:
                return None
            (workflow_id,) = db.execute("SELECT workflow_id FROM job WHERE id = ?", (job_id,)).fetchone()
        return queries.load_job(context.database, context.directory, workflow_id, job_id).job

    def get(self, job_id: int) -> Calculation:
        """The calculation of that number; NotFoundError when this workflow has none."""
        calculation = Calculation(self._context, job_id)
        calculation.record()
        return calculation

    def __iter__(self) -> Iterator[Calculation]:
        """All jobs of the workflow, the daemon's among them, by number."""
        offset, context = 0, self._context
        while True:
            context.check_open()
            jobs, total = queries.list_jobs(
                context.database, context.id, Selection(), limit=_NONE_MORE, offset=offset, order="id"
            )
            yield from (Calculation(context, job.id) for job in jobs)
            offset += len(jobs)
            if not jobs or offset >= total:
                return

    def _same(self, db: sqlite3.Connection, wanted: Material) -> list[library.MaterialRow]:
        """The rows of the material that are this workflow's."""
        rows = library.find_materials(db, self._context.namespace, wanted.name)
        return [row for row in rows if row.workflow_id == self._context.id and _is_of(row, wanted)]

    def _own_material(self, db: sqlite3.Connection, wanted: Material) -> library.MaterialRow:
        """The row of the material that is this workflow's: where another brought it, it is brought here too."""
        if wanted.namespace != self._context.namespace:
            raise ConflictError(
                f"material {wanted.name!r} is of namespace {wanted.namespace!r}, not {self._context.namespace!r}; "
                "bring it here with materials.add"
            )
        if own := self._same(db, wanted):
            return own[0]
        others = library.find_materials(db, self._context.namespace, wanted.name)
        other = next((row for row in others if _is_of(row, wanted)), None)
        if other is None:
            raise NotFoundError(f"material {wanted.name!r} is not in namespace {wanted.namespace!r} any more")
        index = library.next_index(db, self._context.id)
        structure = msgspec.structs.replace(other.structure, orig_index=index, line=0)
        key = stored_key(self._context, wanted.key)
        id_ = library.insert_material(db, self._context.value, structure, key)
        return library.MaterialRow(id_, self._context.id, wanted.name, key, structure)


def _is_of(row: library.MaterialRow, wanted: Material) -> bool:
    s = row.structure
    return (s.geometry, s.charge, s.multiplicity, s.deck) == (
        wanted.geometry,
        wanted.charge,
        wanted.multiplicity,
        wanted.deck,
    )


def _key(material: Material, engine: str, method: str) -> str:
    return calculation_key(material.key, key_of_method(engine, msgspec.json.decode(method)["parameters"]))


def _said(job_id: int, values: dict[str, Any], reason: str | None = None) -> Event:
    return Event("job_set", job_id, {"set": values, "by": "the library"} | ({"reason": reason} if reason else {}))
