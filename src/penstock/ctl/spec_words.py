"""What the keys of a spec mean, in the few words that stand behind them in a written spec."""

from __future__ import annotations

from typing import Final

MEANINGS: Final = {
    "id": "the workflow's name; made up if left out",
    "recipe": "what is done with every structure",
    "cluster": 'where it runs; default "local"',
    "slots": "jobs that may run at the same time; default 1",
    "priority": "higher goes first when the cluster is full, -1000 to 1000; default 0",
    "isolation": 'isolated, shared or hybrid; default "isolated"',
    "structures.source": "a file, a folder or a glob; relative to this file",
    "structures.format": "csv, parquet, xyz, extxyz, cif, vasp, d12 or ase; default: by the name",
    "structures.select": 'rows of an ASE database, as ASE writes it: "id=3"; default all',
    "structures.geometry_column": "lines of El x y z, or whole XYZ blocks; Å",
    "structures.charge_column": "total charge, e; default 0",
    "structures.unpaired_column": "unpaired electrons; default as few as possible",
    "structures.multiplicity_column": "2S+1; default: as low as possible",
    "structures.name_column": "what results are listed under; default: the number of the record",
    "structures.charge": "e, where no column says otherwise; default 0",
    "structures.multiplicity": "2S+1, where no column says otherwise; default: as low as possible",
    "structures.build.system": 'a formula, such as "Si" or "Cu3Au"',
    "structures.build.prototype": "default: an element's reference state",
    "structures.build.a_angstrom": "of the conventional cell, Å; default: estimated from the elements",
    "structures.build.c_angstrom": "of the conventional cell, Å; default: estimated from the elements",
    "structures.build.elements": "that structures are built of",
    "structures.build.lattices": "parent lattices; all orderings on them are built",
    "structures.build.prototypes": "with all ways to put the elements on their sites",
    "structures.build.max_atoms": "of an ordering's cell; default 4",
    "structures.build.references": "also the elements in their reference states; default false",
    "engine.name": "the simulation code",
    "engine.command": "the program, as the jobs find it, with its arguments",
    "engine.task": "what is calculated",
    "engine.method": "as the engine calls it",
    "engine.basis": "as ORCA calls it; default: the method's own",
    "engine.keywords": "further words of ORCA's first line; default none",
    "engine.template": "a template of the whole input; default: made from the keys",
    "engine.fmax": "largest force on an atom at which an optimisation stops, eV/Å; default 0.05",
    "engine.max_steps": "steps of an optimisation, at most; default 500",
    "engine.accuracy": "tblite's measure, smaller is tighter; default 1.0",
    "engine.properties": 'the program for bands, densities of states, ...; default "Pproperties"',
    "engine.deck": "a deck from which all but the geometry is taken; relative to this file",
    "engine.hamiltonian.functional": "as CRYSTAL calls it, or HF, HF3C, HFSOL3C; default PBE",
    "engine.basis.name": "as CRYSTAL calls it; default the method's own, else POB-TZVP-REV2",
    "engine.order": "0: a minimum, 1: a saddle point (transition state); default 0",
    "engine.orca.command": 'ORCA: the full path, or a name on the PATH; default "orca"',
    "engine.orca.method": "of the energies and gradients",
    "engine.orca.basis": "as ORCA calls it; default: the method's own",
    "engine.pseudo_dir": "the folder with the pseudopotentials (UPF), an absolute path",
    "engine.ecutwfc_ry": "cut-off of the wavefunctions, Ry; default: what the pseudopotentials suggest",
    "engine.ecutrho_ry": "cut-off of the density, Ry; default: what the pseudopotentials suggest",
    "engine.kpoints": "k-points along the axes; default: by kspacing_per_angstrom",
    "engine.kspacing_per_angstrom": "distance of the k-points, 1/Å; default 0.2",
    "engine.functional": "choose pseudopotentials made for it; default: any",
    "engine.templates.*": "template file, filled in for every structure; relative to this file",
    "engine.results.from": 'the file that is searched; default "stdout"',
    "engine.results.success": "must be found there, else the job failed; default: exit code 0",
    "engine.results.file": "a JSON object with the results",
    "engine.results.patterns.energy_hartree": "finds the energy, Eh, in its one group; the last match counts",
    "engine.results.patterns.energy_ev": "finds the energy, eV, in its one group; the last match counts",
    "chain.template": "the steps every material goes through",
    "chain.steps": "the steps every material goes through, in order",
    "chain.optional": "steps that may fail without failing the chain; default none",
    "chain.usual_resources": "every step asks for what is usual for it; default false",
    "resources.cores": "of one task: its threads; default 1",
    "resources.tasks": "MPI processes of one job; default 1",
    "resources.nodes": "nodes the tasks are spread over; default 1",
    "resources.gpus": "of one task; default 0",
    "resources.memory": 'of one job on one node; default "1GB"',
    "resources.walltime": 'of one attempt: "30min", "12h", "2d"; default "1h"',
    "retry.max_attempts": "how often a job is tried in all; default 1",
    "remedies.total": "changes that one job may be tried again with; default 3",
    "elastic.amplitudes": "strains; each is applied both ways",
    "elastic.relax": "cell and ions before straining; default true",
    "elastic.symmetry": "only strains that symmetry does not give for nothing; default true",
    "elastic.pressure_gpa": "at which it is relaxed and strained, GPa; default 0",
    "elastic.symprec_angstrom": "up to which positions count as symmetric, Å; default 0.001",
    "equilibrate.pressure_gpa": "GPa; default 0",
    "equilibrate.temperature_k": "K; default: where forces and stress vanish",
    "equilibrate.produce_ps": "dynamics that are averaged over, ps; default 20",
    "equilibrate.timestep_fs": "fs; default 2",
    "equilibrate.min_atoms": "the cell is repeated until it has as many; default 100",
    "equilibrate.segments": "jobs that the dynamics are divided into; default 1",
    "equilibrate.seed": "of the first velocities; default 1",
    "diffusion.temperatures_k": "K",
    "diffusion.equilibrate_ps": "dynamics before those that are analysed, ps; default 5",
    "diffusion.produce_ps": "dynamics that are analysed at each temperature, ps; default 50",
    "diffusion.segments": "jobs that they are divided into, one after another; default 5",
    "diffusion.timestep_fs": "fs; default 2",
    "diffusion.sample_fs": "between two frames, fs; default 20",
    "diffusion.min_atoms": "the cell is repeated until it has as many; default 100",
    "diffusion.relax": "the cell before; default false",
    "diffusion.species": "elements; default all",
    "diffusion.dimensions": 'that atoms can move along; default "xyz"',
    "diffusion.viscosity_pa_s": "corrects the finite size of a cubic box, Pa s; default: no correction",
    "diffusion.seed": "of the first velocities; default 1",
    "phase_diagram.relax": 'what is relaxed; default "cell"',
    "phase_diagram.error_ev_per_atom": "standard error of an energy, eV/atom; 0: not known",
    "phase_diagram.references_ev_per_atom.*": "eV/atom; what the element is measured against",
    "phase_diagram.energies_ev_per_atom.*": "eV/atom; a phase known from elsewhere, on the same footing",
    "phase_diagram.refine_below_ev_per_atom": "above the hull, eV/atom: these once more, with [phase_diagram.refine]",
    "phase_diagram.refine.*": "of the engine, for those near the hull",
    "engine.calculator": "the dotted name of a class or function that Python can import",
    "engine.arguments": "what it is called with",
    "retention.archive_after": 'after the end: "30d"; default never',
    "retention.delete_after": 'after the end: "90d"; default never',
    "retention.keep_last": "workflows that are kept in any case",
}
"""By the dotted key; `TABLE.*` for keys that people name."""

ISOLATION: Final = {
    "isolated": "a database, files and results of its own; nothing another workflow does can touch them",
    "shared": "one database and one pool of results with all shared workflows here; equal calculations are done once",
    "hybrid": "one database with others here, for questions across workflows; files and results of its own",
}
"""What each isolation means, in a line."""

OPTIONAL_TABLES: Final = {
    "resources": """\
# [resources]                   # of one job
# cores = 1                     # its threads
# memory = "1GB"                # shared out, not enforced
# walltime = "1h"               # of one attempt; then it is stopped
""",
    "retention": """\
# [retention]                   # after the workflow has ended
# archive_after = "30d"         # default never
# delete_after = "90d"          # default never
""",
}
"""What a spec that does not have a table says about it: as comments, so that settings of lower rank still count."""
