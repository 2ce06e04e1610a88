-- what is derived from the results of jobs: further jobs, and what an analysis says
ALTER TABLE step ADD COLUMN whole INTEGER NOT NULL DEFAULT 0;  -- of all subjects together, once

ALTER TABLE job ADD COLUMN subject INTEGER;         -- the material of the source that it is about (0: all); NULL: nothing is derived
ALTER TABLE job ADD COLUMN unfolded_from INTEGER;   -- the job whose result it was made from
ALTER TABLE job ADD COLUMN label TEXT;              -- JSON: what its recipe knows it by
ALTER TABLE job ADD COLUMN own TEXT;                -- JSON: engine parameters that it was made with, over its step's
CREATE INDEX job_subject ON job (subject, state) WHERE subject IS NOT NULL;
CREATE INDEX job_of_step ON job (step_id, state) WHERE subject IS NOT NULL;

-- results that have been turned into jobs: each once
CREATE TABLE unfolding (
    workflow_id TEXT NOT NULL REFERENCES workflow,
    step_id INTEGER NOT NULL REFERENCES step,
    parent_id INTEGER NOT NULL,       -- the job; 0: of all subjects together
    jobs INTEGER NOT NULL,
    trouble TEXT,                     -- why it came to none
    PRIMARY KEY (step_id, parent_id)
) WITHOUT ROWID;

CREATE TABLE conclusion (
    workflow_id TEXT NOT NULL REFERENCES workflow,
    step_id INTEGER NOT NULL REFERENCES step,
    subject INTEGER NOT NULL,         -- the material; 0: all subjects together
    name TEXT NOT NULL,               -- of the subject
    failure TEXT,                     -- why nothing can be said, or not all that was asked for
    notes TEXT NOT NULL,              -- JSON
    figures TEXT NOT NULL,            -- JSON
    at TEXT NOT NULL,
    PRIMARY KEY (step_id, subject)
) WITHOUT ROWID;

CREATE TABLE result (
    id INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    step_id INTEGER NOT NULL REFERENCES step,
    subject INTEGER NOT NULL,         -- of its conclusion
    name TEXT NOT NULL,
    about TEXT NOT NULL,              -- the material, or the system, by its name
    value TEXT NOT NULL,              -- JSON
    unit TEXT NOT NULL,
    uncertainty TEXT,                 -- JSON: one standard error
    conditions TEXT NOT NULL,         -- JSON
    method TEXT NOT NULL,
    attempts TEXT NOT NULL            -- JSON: those that it rests on, as job.number
);
CREATE INDEX result_conclusion ON result (step_id, subject);
