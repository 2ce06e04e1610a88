"""What several workflows in one database need beyond what one alone does."""

from __future__ import annotations

from typing import Final

SHARED_INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS job_workflow ON job (workflow_id, id)",
    "CREATE INDEX IF NOT EXISTS job_ready_here ON job (workflow_id, id) WHERE state = 'ready'",
    "CREATE INDEX IF NOT EXISTS event_workflow ON event (workflow_id, seq)",
    "CREATE INDEX IF NOT EXISTS material_here ON material (workflow_id, id)",
    "CREATE INDEX IF NOT EXISTS material_name ON material (namespace, name)",
)
"""So that none of them passes by the rows of all others. A workflow that is alone is spared the writing of them."""

# Workflows that share a database lie side by side.
_BESIDE: Final = """
    CASE WHEN {path} LIKE '/%' OR {path} LIKE '../%' OR o.workflow_id = {own} THEN {path}
         ELSE '../' || o.workflow_id || '/' || {path} END
"""
_JOB_DIRECTORY: Final = _BESIDE.format(path="o.job_dir", own="job.workflow_id")
TAKE_OVER: Final = f"""
    UPDATE job SET state = 'completed', status = 'completed', failure = NULL, error_message = NULL, not_before = NULL,
        awaits = NULL, updated_at = ?1,
        final_energy = o.final_energy, max_forces = o.max_forces, scf_steps = o.scf_steps,
        final_geometry = o.final_geometry, final_deck = o.final_deck, checkpoint = o.checkpoint,
        job_dir = {_JOB_DIRECTORY},
        origin = coalesce(o.origin, json_object('workflow', o.workflow_id, 'job', o.id, 'attempt', o.attempts,
            'directory', o.job_dir))
    FROM job AS o WHERE job.id = ?2 AND o.id = ?3
"""
TAKE_PROPERTIES: Final = """
    INSERT OR REPLACE INTO property (job_id, name, workflow_id, attempt, value)
    SELECT ?1, name, ?2, 0, value FROM property WHERE job_id = ?3
"""
TAKE_FILES: Final = f"""
    INSERT INTO file (workflow_id, job_id, attempt, role, path, bytes, sha256)
    SELECT ?2, ?1, 0, f.role, {_BESIDE.format(path="f.path", own="?2")}, f.bytes, f.sha256
    FROM file f JOIN job o ON o.id = f.job_id WHERE f.job_id = ?3
"""
