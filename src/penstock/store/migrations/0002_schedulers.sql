ALTER TABLE job ADD COLUMN memory_mb INTEGER;       -- of the next attempt; NULL: what the spec says
ALTER TABLE job ADD COLUMN walltime_s INTEGER;
-- jobs that got more are few, and found without passing by all the others
CREATE INDEX job_ready_raised ON job (memory_mb, walltime_s, id)
    WHERE state = 'ready' AND (memory_mb IS NOT NULL OR walltime_s IS NOT NULL);

ALTER TABLE submission ADD COLUMN width INTEGER NOT NULL DEFAULT 1;  -- tasks side by side; position p is in task p % width
ALTER TABLE submission ADD COLUMN memory_mb INTEGER;                 -- of its attempts; NULL: what the spec says
ALTER TABLE submission ADD COLUMN walltime_s INTEGER;
