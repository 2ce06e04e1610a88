-- several workflows in one file: what any of them may use of another's
ALTER TABLE workflow ADD COLUMN daemon TEXT;        -- JSON: who works on it (host, state directory); NULL: nobody yet
ALTER TABLE workflow ADD COLUMN seen_at TEXT;       -- UTC; when it was last seen at work on what others may wait for
ALTER TABLE material ADD COLUMN key TEXT;           -- of its structure, charge and multiplicity; NULL: shared with nobody
ALTER TABLE job ADD COLUMN calculation TEXT;        -- key of what is calculated, and how; NULL: shared with nobody
ALTER TABLE job ADD COLUMN awaits INTEGER;          -- the other workflow's job whose result it waits for
ALTER TABLE job ADD COLUMN origin TEXT;             -- JSON: where a result that was not calculated here came from
CREATE INDEX job_calculation ON job (calculation) WHERE calculation IS NOT NULL;
CREATE INDEX job_awaits ON job (workflow_id, awaits) WHERE awaits IS NOT NULL;

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

ALTER TABLE submission ADD COLUMN locks TEXT;        -- JSON: the fencing tokens of what it holds; NULL: nothing

-- what came from the databases of other tools
ALTER TABLE property ADD COLUMN unit TEXT;          -- where the name does not say it

CREATE TABLE execution (
    id INTEGER PRIMARY KEY,
    execution_id TEXT NOT NULL,
    workflow_name TEXT,
    cell_line TEXT,
    vessel_id TEXT,
    operation_type TEXT,
    status TEXT NOT NULL,
    created_at TEXT,
    started_at TEXT,
    completed_at TEXT,
    error_message TEXT,
    metadata TEXT,                    -- JSON
    current_step_index INTEGER,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    UNIQUE (workflow_id, execution_id)
);
CREATE INDEX execution_status ON execution (workflow_id, status);

CREATE TABLE execution_step (
    id INTEGER PRIMARY KEY,
    step_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    step_index INTEGER,
    name TEXT,
    operation_type TEXT,
    parameters TEXT,                  -- JSON
    status TEXT NOT NULL,
    start_time TEXT,
    end_time TEXT,
    error_message TEXT,
    result TEXT,                      -- JSON
    workflow_id TEXT NOT NULL REFERENCES workflow,
    UNIQUE (workflow_id, step_id)
);
CREATE INDEX execution_step_execution ON execution_step (workflow_id, execution_id, step_index);

CREATE TABLE queued_job (
    id INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    priority INTEGER,
    status TEXT NOT NULL,
    scheduled_time TEXT,
    created_at TEXT,
    started_at TEXT,
    completed_at TEXT,
    error_message TEXT,
    metadata TEXT,                    -- JSON
    workflow_id TEXT NOT NULL REFERENCES workflow,
    UNIQUE (workflow_id, job_id)
);
CREATE INDEX queued_job_execution ON queued_job (workflow_id, execution_id);

-- the tables' names in older tools
CREATE VIEW executions AS
    SELECT execution_id, workflow_name, cell_line, vessel_id, operation_type, status, created_at, started_at,
           completed_at, error_message, metadata, current_step_index
    FROM execution;
CREATE VIEW execution_steps AS
    SELECT step_id, execution_id, step_index, name, operation_type, parameters, status, start_time, end_time,
           error_message, result
    FROM execution_step;
CREATE VIEW queued_jobs AS
    SELECT job_id, execution_id, priority, status, scheduled_time, created_at, started_at, completed_at, error_message,
           metadata
    FROM queued_job;

ALTER TABLE attempt ADD COLUMN output TEXT;         -- of a run that was taken over: its output's name, where it is known
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
