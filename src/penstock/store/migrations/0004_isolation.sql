-- several workflows in one file: what any of them may use of another's
ALTER TABLE workflow ADD COLUMN daemon TEXT;        -- JSON: who works on it (host, state directory); NULL: nobody yet
ALTER TABLE material ADD COLUMN key TEXT;           -- of its structure, charge and multiplicity; NULL: shared with nobody
ALTER TABLE job ADD COLUMN calculation TEXT;        -- key of what is calculated, and how; NULL: shared with nobody
ALTER TABLE job ADD COLUMN awaits INTEGER;          -- the other workflow's job whose result it waits for
ALTER TABLE job ADD COLUMN origin TEXT;             -- JSON: where a result that was not calculated here came from
CREATE INDEX job_calculation ON job (calculation) WHERE calculation IS NOT NULL;
CREATE INDEX job_awaits ON job (awaits) WHERE awaits IS NOT NULL;

-- what is done when the workflow has ended: each action of each end, in its order
CREATE TABLE completion (
    workflow_id TEXT NOT NULL REFERENCES workflow,
    run INTEGER NOT NULL,             -- number of the end, from 1
    position INTEGER NOT NULL,        -- of the action, from 1
    action TEXT NOT NULL,             -- JSON
    state TEXT NOT NULL,              -- pending, begun, done, failed, held, dropped
    result TEXT,
    at REAL NOT NULL,
    PRIMARY KEY (workflow_id, run, position)
) WITHOUT ROWID;

-- a spec that was changed after its submission
ALTER TABLE workflow ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;  -- how often
ALTER TABLE attempt ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;   -- of the spec that it was begun with
-- what a library user brings (penstock.open_context)
ALTER TABLE material ADD COLUMN structure TEXT;     -- JSON: what it is, where no job says so
ALTER TABLE job ADD COLUMN method TEXT;             -- JSON: engine and parameters of who calculates it; NULL: the step's
