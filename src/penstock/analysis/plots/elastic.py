"""Pictures of elastic constants; `analysis.elastic.figures` makes their data."""

from __future__ import annotations

from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from penstock.analysis.voigt import Floats

_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P")


def draw_stress_strain(figure: Figure, data: dict[str, Any]) -> None:
    """One panel for each direction of strain; all six components of stress with their fitted lines."""
    panels, components = data["panels"], data["components"]
    columns = 1 if len(panels) == 1 else 3 if len(panels) in {3, 5, 6} else 2
    rows = -(-len(panels) // columns)
    figure.set_size_inches(max(2.7 * columns, 4.5), 2.5 * rows + 0.8)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, components)
    for axes in grid[:, 0]:
        axes.set_ylabel("stress (GPa)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, columnspacing=1.2, handletextpad=0.3)


def draw_elastic_tensor(figure: Figure, data: dict[str, Any]) -> None:
    """The matrix as colours and numbers; a question mark for what is not determined."""
    tensor = np.array(data["tensor_gpa"], dtype=float)
    errors = None if data["standard_error_gpa"] is None else np.array(data["standard_error_gpa"], dtype=float)
    figure.set_size_inches(5.6, 4.8)
    axes = figure.subplots()
    limit = float(np.nanmax(np.abs(tensor)))
    colours = mpl.colormaps["RdBu"].with_extremes(bad="#eeeeee")
    image = axes.imshow(tensor, cmap=colours, vmin=-limit, vmax=limit)
    for row, column in np.ndindex(6, 6):
        value = float(tensor[row, column])
        error = None if errors is None else float(errors[row, column])
        colour = "white" if abs(value) > 0.6 * limit else "black"
        axes.text(column, row, _entry(value, error, limit), ha="center", va="center", fontsize=8.5, color=colour)
    ticks = range(6)
    axes.set_xticks(ticks, data["components"])
    axes.set_yticks(ticks, data["components"])
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    axes.set_xlabel("strain")
    axes.set_ylabel("stress")
    figure.colorbar(image, ax=axes, label="GPa", shrink=0.85)


def draw_elastic_surface(figure: Figure, data: dict[str, Any]) -> None:
    """Three plane sections as polar curves, and the surface itself."""
    figure.set_size_inches(6.8, 6.4)
    surface = np.array(data["young_gpa"], dtype=float)
    colours = Normalize(float(surface.min()), float(surface.max()))
    for index, (plane, values) in enumerate(data["sections"].items()):
        axes = figure.add_subplot(2, 2, index + 1, projection="polar")
        axes.plot(data["angles"], values, color=_COLOURS[index])
        axes.fill(data["angles"], values, color=_COLOURS[index], alpha=0.12)
        axes.set_ylim(0, 1.05 * colours.vmax)  # type: ignore[operator]
        axes.set_yticks(_radii(float(surface.max())))
        axes.tick_params(axis="y", labelsize=7.5, labelcolor="#555555")
        axes.set_xticks(np.arange(4) * np.pi / 2, [plane[0], plane[1], "", ""])
        axes.tick_params(axis="x", pad=-2)
        axes.spines["polar"].set_visible(False)
    _draw_surface(figure, data, surface, colours)


def _draw_panel(axes: Axes, panel: dict[str, Any], components: list[str]) -> None:
    strain = np.array(panel["strain"], dtype=float)
    reach = 1.1 * np.abs(strain).max()
    along = np.linspace(-reach if strain.min() < 0 else 0, reach if strain.max() > 0 else 0, 41)
    for index, (points, line) in enumerate(zip(panel["stress_gpa"], panel["line_gpa"], strict=True)):
        axes.plot(100 * along, np.polynomial.Polynomial(line)(along), color=_COLOURS[index])
        axes.plot(
            100 * strain,
            points,
            _MARKERS[index],
            color=_COLOURS[index],
            label=components[index],
            markersize=7 - 0.7 * index,  # equal components show as rings
            markeredgecolor="white",
            markeredgewidth=0.4,
        )
    name = panel["component"]
    axes.set_xlabel(f"strain {name} (%)" if panel["is_single"] else f"mixed strain, its {name} (%)")


def _draw_surface(figure: Figure, data: dict[str, Any], surface: Floats, colours: Normalize) -> None:
    polar, azimuth = np.array(data["polar"])[:, None], np.array(data["azimuth"])[None, :]
    x, y, z = (
        surface * np.sin(polar) * np.cos(azimuth),
        surface * np.sin(polar) * np.sin(azimuth),
        surface * np.cos(polar),
    )
    axes: Any = figure.add_subplot(2, 2, 4, projection="3d")  # of a module without types
    palette = mpl.colormaps["viridis"]
    # as an image within the drawing: thousands of faces would make it slow to show
    axes.plot_surface(
        *(x, y, z),
        facecolors=palette(colours(surface)),
        rstride=1,
        cstride=1,
        shade=False,
        rasterized=True,
        linewidth=0,
        antialiased=False,
    )
    reach = float(surface.max())
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach), zlabel="z")
    axes.set_xlabel("x", labelpad=-8)
    axes.set_ylabel("y", labelpad=-8)
    axes.set_box_aspect((1, 1, 1))
    axes.set(xticklabels=[], yticklabels=[], zticklabels=[])
    mappable = mpl.cm.ScalarMappable(colours, palette)
    figure.colorbar(mappable, ax=axes, label="Young's modulus (GPa)", shrink=0.7, pad=0.12)


def _radii(largest: float) -> list[float]:
    """Three or four round numbers up to `largest`."""
    step = 10 ** np.floor(np.log10(largest / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if largest / (factor * step) < 4.5)
    return list(np.arange(step, largest * 1.02, step))


def _entry(value: float, error: float | None, limit: float) -> str:
    if np.isnan(value):
        return "?"
    digits = 1 if limit < 1000 else 0
    text = f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}") if abs(value) >= 0.5 * 10**-digits else "0"
    if error is None or text == "0":
        return text
    return f"{text}\n±{error:.1g}" if error < 10**-digits else f"{text}\n±{error:.{digits}f}"


KINDS: Final = {
    "stress_strain": draw_stress_strain,
    "elastic_tensor": draw_elastic_tensor,
    "elastic_surface": draw_elastic_surface,
}
