"""The statements of a merge, in their order. `{source}` is the schema that the source's tables are in.

`temp.incoming` has a row for each result of the source: `what` becomes of it is one of

- new, changed (merged before, and now it says something else), unchanged
- present: the target has the same result already
- conflict: the target has another result of the same calculation, beyond the tolerances (`other` is its job)
- named: the target has another structure under the material's name (`other` is that material). What was made of a
  result has its name from the recipe, and may be another one for every method
"""

from __future__ import annotations

from typing import Final

WANTED: Final = "j.state IN ('completed', 'failed', 'timeout')"
"""Results worth merging: those of jobs that have ended and have something to tell."""

PREPARE: Final = (
    """CREATE TABLE temp.incoming (
        job_id INTEGER PRIMARY KEY, material_id INTEGER, key TEXT, calculation TEXT, digest TEXT,
        what TEXT NOT NULL DEFAULT 'new', other INTEGER, new_id INTEGER, renamed INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE temp.placed (
        material_id INTEGER PRIMARY KEY, key TEXT, renamed INTEGER, new_id INTEGER, is_new INTEGER)""",
)

_DIFFERS: Final = """
    ((s.final_energy IS NULL) != (o.final_energy IS NULL) OR (s.max_forces IS NULL) != (o.max_forces IS NULL)
     OR coalesce(abs(s.final_energy - o.final_energy) > :energy, 0)
     OR coalesce(abs(s.max_forces - o.max_forces) > :force, 0))
"""
CLASSIFY: Final = (
    """UPDATE temp.incoming AS i
        SET new_id = m.job_id, what = CASE WHEN m.digest = i.digest THEN 'unchanged' ELSE 'changed' END
        FROM main.merged m WHERE m.workflow_id = :into AND m.source_job = i.job_id""",
    # what others would find now: a result that was calculated goes before a copy of one
    """UPDATE temp.incoming AS i SET other = (
            SELECT o.id FROM main.job o WHERE o.calculation = i.calculation AND o.parameters IS s.parameters
            AND o.state = 'completed' AND o.workflow_id != :into ORDER BY o.origin IS NOT NULL, o.id LIMIT 1)
        FROM {source}.job s WHERE s.id = i.job_id AND s.state = 'completed' AND i.what IN ('new', 'changed')""",
    f"""UPDATE temp.incoming AS i SET what = CASE WHEN {_DIFFERS} THEN 'conflict' ELSE 'present' END
        FROM {{source}}.job s, main.job o
        WHERE i.other IS NOT NULL AND s.id = i.job_id AND o.id = i.other AND (i.what = 'new' OR {_DIFFERS})""",
    """UPDATE temp.incoming AS i SET what = 'named', other = n.other FROM (
            SELECT i.job_id, min(o.id) AS other FROM temp.incoming i
            JOIN {source}.material m ON m.id = i.material_id
            JOIN main.material o ON o.namespace = :namespace AND o.name = m.name AND o.workflow_id != :into
                AND o.key != i.key
            JOIN {source}.job s ON s.id = i.job_id
            WHERE i.what = 'new' AND s.unfolded_from IS NULL GROUP BY i.job_id) n
        WHERE n.job_id = i.job_id""",
)

CONFLICTS: Final = """
    SELECT CASE i.what WHEN 'named' THEN 'material' ELSE 'result' END, m.name, i.job_id,
        coalesce(o.workflow_id, n.workflow_id), o.id, s.final_energy, o.final_energy, s.max_forces, o.max_forces
    FROM temp.incoming i JOIN {source}.job s ON s.id = i.job_id JOIN {source}.material m ON m.id = i.material_id
    LEFT JOIN main.job o ON i.what = 'conflict' AND o.id = i.other
    LEFT JOIN main.material n ON i.what = 'named' AND n.id = i.other
    WHERE i.what IN ('conflict', 'named') ORDER BY i.job_id LIMIT :most
"""

_TAKEN_IN: Final = "CASE WHEN new_id IS NULL THEN 'new' ELSE 'changed' END"
DECIDE: Final[dict[str, tuple[str, ...]]] = {
    "keep": (),
    "both": (
        f"""UPDATE temp.incoming SET renamed = what = 'named', what = {_TAKEN_IN}
            WHERE what IN ('conflict', 'named')""",
    ),
    "replace": (
        """UPDATE main.material SET name = name || '@' || workflow_id
            WHERE id IN (SELECT other FROM temp.incoming WHERE what = 'named')""",
        """INSERT INTO main.event (workflow_id, at, kind, job_id, data)
            SELECT o.workflow_id, :now, :superseded, o.id, :by
            FROM temp.incoming i JOIN main.job o ON o.calculation = i.calculation AND o.workflow_id != :into
            WHERE i.what = 'conflict' GROUP BY o.id""",
        """UPDATE main.job SET calculation = NULL WHERE workflow_id != :into
            AND calculation IN (SELECT calculation FROM temp.incoming WHERE what = 'conflict')""",
        f"UPDATE temp.incoming SET what = {_TAKEN_IN} WHERE what IN ('conflict', 'named')",
    ),
}

FRAME: Final = (
    """INSERT OR IGNORE INTO main.workflow (workflow_id, recipe, recipe_version, spec, parameters, mode, namespace,
            state, reason, slots, slots_origin, priority, created_at, updated_at)
        SELECT :into, recipe, recipe_version, spec, parameters, 'shared', :namespace, 'completed',
            'results merged from workflow ' || :id, slots, slots_origin, priority, created_at, updated_at
        FROM {source}.workflow WHERE workflow_id = :id""",
    """INSERT OR IGNORE INTO main.step (workflow_id, key, kind, state, cursor, after, parameters, resources, optional)
        SELECT :into, key, kind, 'running', '', after, parameters, resources, optional
        FROM {source}.step WHERE workflow_id = :id ORDER BY id""",
)

NUMBER: Final = (
    # a material that was merged before is found by the name that it got then
    """INSERT INTO temp.placed (material_id, key, renamed, new_id, is_new)
        SELECT i.material_id, i.key, i.renamed, (
            SELECT o.id FROM main.material o WHERE o.namespace = :namespace AND o.workflow_id = :into AND o.key = i.key
            AND o.name = m.name || CASE WHEN i.renamed THEN '@' || :id ELSE '' END
            AND o.source_index = m.source_index LIMIT 1), 0
        FROM (SELECT material_id, min(key) AS key, max(renamed) AS renamed FROM temp.incoming WHERE what = 'new'
              GROUP BY material_id) i
        JOIN {source}.material m ON m.id = i.material_id""",
    """UPDATE temp.placed AS p SET is_new = 1, new_id = n.id FROM (
            SELECT material_id, row_number() OVER (ORDER BY material_id)
                + (SELECT coalesce(max(id), 0) FROM main.material) AS id
            FROM temp.placed WHERE new_id IS NULL) n
        WHERE n.material_id = p.material_id""",
    """UPDATE temp.incoming AS i SET new_id = n.id FROM (
            SELECT job_id, (SELECT coalesce(max(id), 0) FROM main.job) + row_number() OVER (ORDER BY job_id) AS id
            FROM temp.incoming WHERE what = 'new') n
        WHERE n.job_id = i.job_id""",
)

MATERIALS: Final = """
    INSERT INTO main.material (id, workflow_id, namespace, name, step_id, source_index, key, structure)
    SELECT p.new_id, :into, :namespace, m.name || CASE WHEN p.renamed THEN '@' || :id ELSE '' END, t.id,
        m.source_index, p.key, m.structure
    FROM temp.placed p JOIN {source}.material m ON m.id = p.material_id JOIN {source}.step s ON s.id = m.step_id
    JOIN main.step t ON t.workflow_id = :into AND t.key = s.key
    WHERE p.is_new ORDER BY p.new_id
"""

_COPIED: Final = (
    *("orig_index", "elements", "natoms", "charge", "spin", "geometry", "name", "source_line", "step", "deck"),
    *("parameters", "remedies", "method", "created_at", "own", "label"),
)
"""Columns of a job that its result does not change."""
_RESULT: Final = (
    *("status", "state", "max_forces", "scf_steps", "final_energy", "error_message", "updated_at", "attempts"),
    *("failure", "wall_time_s", "final_geometry", "final_deck", "checkpoint"),
)
_PATH: Final = "CASE WHEN {0} LIKE '/%' OR ({0} LIKE '../%' AND :prefix LIKE '../%') THEN {0} ELSE :prefix || {0} END"
_JOB_DIR: Final = _PATH.format("s.job_dir")
_ORIGIN: Final = f"""
    coalesce(s.origin, json_object('workflow', :id, 'job', s.id, 'attempt', s.attempts, 'directory', {_JOB_DIR}))
"""
_CHANGED: Final = "SELECT new_id FROM temp.incoming WHERE what = 'changed'"
_TAKEN: Final = "i.what IN ('new', 'changed')"
RESULTS: Final = (
    f"""INSERT INTO main.job (id, workflow_id, step_id, material_id, parent_id, calculation, origin, job_dir,
            {", ".join(_COPIED + _RESULT)})
        SELECT i.new_id, :into, t.id, p.new_id, parent.new_id, i.calculation, {_ORIGIN}, {_JOB_DIR},
            {", ".join(f"s.{name}" for name in _COPIED + _RESULT)}
        FROM temp.incoming i JOIN {{source}}.job s ON s.id = i.job_id
        JOIN temp.placed p ON p.material_id = i.material_id JOIN {{source}}.step e ON e.id = s.step_id
        JOIN main.step t ON t.workflow_id = :into AND t.key = e.key
        LEFT JOIN temp.incoming parent ON parent.job_id = s.parent_id
        WHERE i.what = 'new' ORDER BY i.new_id""",
    f"""UPDATE main.job AS j SET {", ".join(f"{name} = s.{name}" for name in _RESULT)}, job_dir = {_JOB_DIR},
            origin = {_ORIGIN}, calculation = i.calculation
        FROM temp.incoming i, {{source}}.job s WHERE i.what = 'changed' AND s.id = i.job_id AND j.id = i.new_id""",
    f"DELETE FROM main.property WHERE job_id IN ({_CHANGED})",
    f"DELETE FROM main.file WHERE job_id IN ({_CHANGED})",
    f"""INSERT INTO main.property (job_id, name, workflow_id, attempt, value, unit)
        SELECT i.new_id, p.name, :into, p.attempt, p.value, p.unit
        FROM temp.incoming i JOIN {{source}}.property p ON p.job_id = i.job_id WHERE {_TAKEN} ORDER BY i.new_id""",
    f"""INSERT INTO main.file (workflow_id, job_id, attempt, role, path, bytes, sha256)
        SELECT :into, i.new_id, f.attempt, f.role, {_PATH.format("f.path")}, f.bytes, f.sha256
        FROM temp.incoming i JOIN {{source}}.file f ON f.job_id = i.job_id WHERE {_TAKEN} ORDER BY i.new_id, f.id""",
    f"""INSERT INTO main.merged (workflow_id, source_job, job_id, digest)
        SELECT :into, i.job_id, i.new_id, i.digest FROM temp.incoming i WHERE {_TAKEN}
        ON CONFLICT DO UPDATE SET digest = excluded.digest""",
    "DELETE FROM main.tally WHERE workflow_id = :into",
    "INSERT INTO main.tally SELECT :into, state, count(*) FROM main.job WHERE workflow_id = :into GROUP BY state",
)
