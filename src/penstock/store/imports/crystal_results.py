"""Properties and files of CRYSTAL calculations that have been taken over."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from penstock.domain.calculation import HARTREE_EV
from penstock.store.imports.places import Places
from penstock.store.imports.remarks import Remarks
from penstock.store.imports.rows import ImportedFile, ImportedProperty, integer, number, text
from penstock.store.imports.source import Source
from penstock.store.imports.writing import Writer

PROPERTY_COLUMNS: Final = (
    "property_id",
    "material_id",
    "calc_id",
    "property_category",
    "property_name",
    "property_value",
    "property_value_text",
    "property_unit",
    "confidence",
    "extracted_at",
    "extractor_script",
)
FILE_COLUMNS: Final = (
    "file_id",
    "calc_id",
    "file_type",
    "file_name",
    "file_path",
    "file_size",
    "created_at",
    "checksum",
)
_ENERGIES: Final = ("final_energy_au", "total_energy_au", "final_energy", "total_energy")
_HARTREE: Final = frozenset({"hartree", "ha", "eh", "au", "a.u."})
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Results:
    """What refers to calculations; they are in the table `old_calculation` of the writer's connection."""

    def __init__(self, source: Source, writer: Writer, remarks: Remarks, places: Places) -> None:
        self._source = source
        self._writer = writer
        self._remarks = remarks
        self._places = places

    def read(self) -> None:
        """Takes over all properties and files."""
        self._read_properties()
        self._read_files()

    def _read_properties(self) -> None:
        if "properties" not in self._source.tables:
            return
        for row in self._source.rows("properties", PROPERTY_COLUMNS):
            where = row["property_id"] if row["property_id"] is not None else row["rowid"]
            name = text(row["property_name"])
            value = number(row["property_value"])
            shown = value if value is not None else decoded(text(row["property_value_text"]))
            if name is None or shown is None:
                reason = "no property_name" if name is None else "a property without a value"
                self._remarks.add("properties", where, reason, name or "", left_out=True)
                continue
            job = self._owner(row, where)
            if job is None:
                continue
            known = self._writer.db.execute(
                "SELECT value FROM property WHERE job_id = ? AND name = ?", (job, name)
            ).fetchone()
            if known is not None:
                self._remarks.add("properties", where, "takes the place of an older row of the same name", name)
            else:
                self._writer.counts["properties"] += 1
            self._writer.add_properties(job, 1, (ImportedProperty(name, shown, text(row["property_unit"])),))
            energy = _energy(name, value, text(row["property_unit"]))
            if energy is not None:
                self._writer.db.execute("UPDATE job SET final_energy = ? WHERE id = ?", (energy, job))

    def _owner(self, row: dict[str, Any], where: object) -> int | None:
        """The job that a property is of: its calculation's, else the material's last completed one."""
        calc = text(row["calc_id"])
        if calc is not None:
            known = old_calculation(self._writer, calc)
            if known is not None:
                return int(known[1])
            self._remarks.add("properties", where, "its calculation is not there", calc, left_out=True)
            return None
        found = self._writer.db.execute(
            "SELECT job FROM old_calculation WHERE material = ? ORDER BY state = 'completed' DESC, job DESC LIMIT 1",
            (text(row["material_id"]),),
        ).fetchone()
        if found is None:
            detail = text(row["material_id"]) or ""
            self._remarks.add("properties", where, "of a material without calculations", detail, left_out=True)
            return None
        self._remarks.add("properties", where, "of no calculation, given to the material's last", f"job {found[0]}")
        return int(found[0])

    def _read_files(self) -> None:
        if "files" not in self._source.tables:
            return
        for row in self._source.rows("files", FILE_COLUMNS):
            where = row["file_id"] if row["file_id"] is not None else row["rowid"]
            calc, written = text(row["calc_id"]), text(row["file_path"]) or text(row["file_name"])
            known = old_calculation(self._writer, calc) if calc else None
            if known is None or written is None:
                reason = "its calculation is not there" if known is None else "no file_path"
                self._remarks.add("files", where, reason, calc or "", left_out=True)
                continue
            path, there = self._places.file(written)
            if not there:
                self._remarks.add("files", where, "file is missing", path)
            checksum = (text(row["checksum"]) or "").lower()
            sha256 = checksum if _SHA256.fullmatch(checksum) else None
            if checksum and sha256 is None:
                self._remarks.add("files", where, "its checksum is no SHA-256, left out", checksum)
            role = (text(row["file_type"]) or "output").lower()
            self._writer.add_file(int(known[1]), ImportedFile(role, path, integer(row["file_size"]), sha256))


def old_calculation(writer: Writer, calc: str) -> tuple[Any, ...] | None:
    """A calculation that has been taken over: its old id, its job, its material, its job's state, its prerequisite."""
    sql = "SELECT * FROM old_calculation WHERE old = ?"
    found: tuple[Any, ...] | None = writer.db.execute(sql, (calc,)).fetchone()
    return found


def _energy(name: str, value: float | None, unit: str | None) -> float | None:
    """The final energy in Eh, if the property is one and its unit is known."""
    if value is None or name not in _ENERGIES:
        return None
    if (unit or "").lower() in _HARTREE:
        return value
    return value / HARTREE_EV if (unit or "").lower() == "ev" else None


def decoded(value: Any) -> Any:
    """A text that holds JSON as what it holds, any other as it is."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value
