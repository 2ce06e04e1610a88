"""The materials of a context's namespace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.context.structure import as_structure
from penstock.domain.context import Mode
from penstock.domain.errors import ConflictError, NotFoundError
from penstock.domain.sameness import material_key
from penstock.domain.spec import nearest
from penstock.store import library

if TYPE_CHECKING:
    from penstock.context.opened import OpenContext


class Material(msgspec.Struct, frozen=True):
    """A structure under its name. `created_by` is the workflow that brought it first; geometry in Å, extended XYZ."""

    name: str
    namespace: str
    created_by: str
    geometry: str
    charge: int
    multiplicity: int
    natoms: int
    elements: tuple[str, ...]
    deck: str | None = None

    @property
    def key(self) -> str:
        """The same for structures that are the same, whatever they are called."""
        return material_key(self.geometry, self.charge, self.multiplicity, self.deck)

    def atoms(self) -> Any:
        """As `ase.Atoms`."""
        from ase import Atoms

        from penstock.domain.geometry import parse_geometry

        symbols, positions, lattice, pbc = parse_geometry(self.geometry)
        return Atoms(symbols, positions, cell=lattice, pbc=pbc)


class Materials:
    """Those of the namespace: in shared mode of all workflows in it, else of this workflow alone."""

    def __init__(self, context: OpenContext) -> None:
        self._context = context

    def add(self, name: str, structure: Any, *, charge: int | None = None, multiplicity: int | None = None) -> Material:
        """Brings a structure (text, path, ase.Atoms) under a name; one that is there already is returned as it is.

        ConflictError when another structure has that name, SpecError for what is none.
        """
        wanted = as_structure(name, structure, charge, multiplicity)
        key = material_key(wanted.geometry, wanted.charge, wanted.multiplicity, wanted.deck)
        context = self._context
        with context.writing() as db:
            there = library.find_materials(db, context.namespace, name)
            for row in there:
                if as_material(row, context.namespace).key != key:
                    raise ConflictError(
                        f"material {name!r} of namespace {context.namespace!r} is another structure, from workflow "
                        f"{row.workflow_id!r}; choose another name"
                    )
            if there:
                return as_material(there[0], context.namespace)
            wanted = msgspec.structs.replace(wanted, orig_index=library.next_index(db, context.id))
            id_ = library.insert_material(db, context.value, wanted, stored_key(context, key))
        return as_material(library.MaterialRow(id_, context.id, name, key, wanted), context.namespace)

    def get(self, name: str) -> Material:
        """The material of that name; NotFoundError names the nearest one."""
        with self._context.reading() as db:
            rows = library.find_materials(db, self._context.namespace, name)
            if rows:
                own = [row for row in rows if row.workflow_id == self._context.id]
                first = next((r for r in rows if _is_same(r, (own or rows)[0])), rows[0])
                return as_material(first, self._context.namespace)
            names = [row.name for row in library.list_materials(db, self._context.namespace)]
        hint = nearest(name, names) or f"there are {len(names)} in it"
        raise NotFoundError(f"there is no material {name!r} in namespace {self._context.namespace!r}; {hint}")

    def __iter__(self) -> Iterator[Material]:
        """All of them, the oldest first; one that several workflows brought is there once."""
        with self._context.reading() as db:
            rows = library.list_materials(db, self._context.namespace)
        seen: set[object] = set()
        for row in rows:
            material = as_material(row, self._context.namespace)
            mark = (material.name, material.geometry, material.charge, material.multiplicity, material.deck)
            if mark not in seen:
                seen.add(mark)
                yield material

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        with self._context.reading() as db:
            return bool(library.find_materials(db, self._context.namespace, name))


def as_material(row: library.MaterialRow, namespace: str) -> Material:
    """A row as its reader sees it."""
    s = row.structure
    return Material(
        row.name,
        namespace,
        row.workflow_id,
        s.geometry,
        s.charge,
        s.multiplicity,
        s.natoms,
        tuple(s.elements.split(";")),
        s.deck,
    )


def stored_key(context: OpenContext, key: str) -> str | None:
    """The key as it is kept: only where results are shared, so that others never find what is this workflow's own."""
    return key if context.mode is Mode.SHARED else None


def _is_same(one: library.MaterialRow, other: library.MaterialRow) -> bool:
    return as_material(one, "").key == as_material(other, "").key
