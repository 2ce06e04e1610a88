-- several workflows in one file: what any of them may use of another's
ALTER TABLE workflow ADD COLUMN daemon TEXT;        -- JSON: who works on it (host, state directory); NULL: nobody yet
ALTER TABLE material ADD COLUMN key TEXT;           -- of its structure, charge and multiplicity; NULL: shared with nobody
ALTER TABLE job ADD COLUMN calculation TEXT;        -- key of what is calculated, and how; NULL: shared with nobody
ALTER TABLE job ADD COLUMN awaits INTEGER;          -- the other workflow's job whose result it waits for
ALTER TABLE job ADD COLUMN origin TEXT;             -- JSON: where a result that was not calculated here came from
CREATE INDEX job_calculation ON job (calculation) WHERE calculation IS NOT NULL;
CREATE INDEX job_awaits ON job (awaits) WHERE awaits IS NOT NULL;

-- what a library user brings (penstock.open_context)
ALTER TABLE material ADD COLUMN structure TEXT;     -- JSON: what it is, where no job says so
ALTER TABLE job ADD COLUMN method TEXT;             -- JSON: engine and parameters of who calculates it; NULL: the step's

-- results that were merged in from another database: which job of which workflow became which one here
CREATE TABLE merged (
    workflow_id TEXT NOT NULL REFERENCES workflow,
    source_job INTEGER NOT NULL,
    job_id INTEGER NOT NULL REFERENCES job,
    digest TEXT NOT NULL,             -- of what was merged: another one, and it is merged again
    PRIMARY KEY (workflow_id, source_job)
) WITHOUT ROWID;
