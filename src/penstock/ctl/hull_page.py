"""A phase diagram from given energies as one page that loads nothing."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, Final

from penstock.domain.properties import Figure

_STYLE: Final = (
    "body{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}"
    "svg{max-width:100%;height:auto}"
)


def render_page(figures: Sequence[tuple[Figure, bytes]], found: dict[str, Any]) -> str:
    """The page with these figures and what `hull --json` says; every text in it is escaped."""
    from penstock.analysis.report import inline

    title = html.escape(f"Phase diagram of {'-'.join(found['elements'])}")
    pictures = "\n".join(
        f"<figure>{inline(svg, number)}<figcaption>{html.escape(figure.caption)}</figcaption></figure>"
        for number, (figure, svg) in enumerate(figures, 1)
    )
    rows = "\n".join(_row(phase) for phase in sorted(found["phases"], key=lambda phase: phase["energy_above_hull"]))
    heads = "".join(
        f"<th>{head}</th>"
        for head in ("phase", "formula", "formation energy, eV/atom", "above the hull, eV/atom", "decomposes into")
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"</head><body>\n<h1>{title}</h1>\n{pictures}\n<table><thead><tr>{heads}</tr></thead><tbody>\n{rows}\n"
        "</tbody></table>\n</body></html>\n"
    )


def _row(phase: dict[str, Any]) -> str:
    parts = " + ".join(f"{part['share']:.4g} {part['phase']}" for part in phase["decomposition"])
    cells = (
        *(phase["name"], phase["formula"], f"{phase['formation_energy']:.6f}"),
        *(f"{phase['energy_above_hull']:.6f}", "stable" if phase["stable"] else parts),
    )
    return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"
