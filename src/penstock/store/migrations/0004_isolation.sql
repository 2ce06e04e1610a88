-- several workflows in one file: what any of them may use of another's
ALTER TABLE workflow ADD COLUMN daemon TEXT;        -- JSON: who works on it (host, state directory); NULL: nobody yet
ALTER TABLE workflow ADD COLUMN seen_at TEXT;       -- UTC; when it was last seen at work on what others may wait for
ALTER TABLE material ADD COLUMN key TEXT;           -- of its structure, charge and multiplicity; NULL: shared with nobody
ALTER TABLE job ADD COLUMN calculation TEXT;        -- key of what is calculated, and how; NULL: shared with nobody
ALTER TABLE job ADD COLUMN awaits INTEGER;          -- the other workflow's job whose result it waits for
ALTER TABLE job ADD COLUMN origin TEXT;             -- JSON: where a result that was not calculated here came from
CREATE INDEX job_calculation ON job (calculation) WHERE calculation IS NOT NULL;
CREATE INDEX job_awaits ON job (workflow_id, awaits) WHERE awaits IS NOT NULL;
