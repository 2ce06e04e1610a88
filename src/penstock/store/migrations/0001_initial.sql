CREATE TABLE workflow (
    workflow_id TEXT PRIMARY KEY,
    recipe TEXT NOT NULL,
    recipe_version INTEGER NOT NULL,
    spec TEXT NOT NULL,               -- the resolved spec, JSON
    parameters TEXT NOT NULL,         -- the engine's checked parameters, JSON
    mode TEXT NOT NULL,
    namespace TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    slots INTEGER NOT NULL,
    slots_origin TEXT NOT NULL,       -- which layer of settings they came from; SIGHUP changes those of config.toml
    priority INTEGER NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL
);

CREATE TABLE step (
    id INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,              -- expanding, running, completed, failed, cancelled
    cursor TEXT NOT NULL DEFAULT '',  -- how far the source has been turned into jobs
    UNIQUE (workflow_id, key)
);

CREATE TABLE material (
    id INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    step_id INTEGER NOT NULL REFERENCES step,
    source_index INTEGER NOT NULL     -- which record of the step's source
);

CREATE TABLE job (
    id INTEGER PRIMARY KEY,
    orig_index INTEGER NOT NULL,
    elements TEXT NOT NULL,
    natoms INTEGER NOT NULL,
    status TEXT NOT NULL,
    charge INTEGER NOT NULL,
    spin INTEGER NOT NULL,            -- multiplicity, 2S+1
    geometry TEXT NOT NULL,
    job_dir TEXT,
    max_forces REAL,                  -- Eh/bohr, largest Cartesian component
    scf_steps INTEGER,
    final_energy REAL,                -- Eh
    error_message TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    step_id INTEGER NOT NULL REFERENCES step,
    material_id INTEGER NOT NULL REFERENCES material,
    name TEXT NOT NULL,
    source_line INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    blamed INTEGER NOT NULL DEFAULT 0,      -- failed attempts that count against the limit
    blameless INTEGER NOT NULL DEFAULT 0,   -- lost attempts that do not
    not_before REAL,
    never_rerun INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    failure TEXT,
    wall_time_s REAL,
    final_geometry TEXT
);
CREATE INDEX job_status ON job (status);
CREATE INDEX job_orig_index ON job (orig_index);
CREATE INDEX job_ready ON job (id) WHERE state = 'ready';

-- the table's name in older tools
CREATE VIEW jobs AS
    SELECT id, orig_index, elements, natoms, status, charge, spin, geometry, job_dir, max_forces, scf_steps,
           final_energy, error_message, created_at, updated_at
    FROM job;

CREATE TABLE submission (
    ulid TEXT PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    cluster TEXT NOT NULL,
    lane INTEGER NOT NULL,
    size INTEGER NOT NULL,
    state TEXT NOT NULL,              -- open, closed
    created_at REAL NOT NULL,
    closed_at REAL
);
CREATE INDEX submission_open ON submission (ulid) WHERE state = 'open';

CREATE TABLE attempt (
    workflow_id TEXT NOT NULL REFERENCES workflow,
    job_id INTEGER NOT NULL REFERENCES job,
    number INTEGER NOT NULL,
    submission TEXT NOT NULL REFERENCES submission,
    position INTEGER NOT NULL,        -- index in the submission's manifest
    directory TEXT NOT NULL,          -- relative to the workflow's directory
    state TEXT NOT NULL,
    failure TEXT,
    message TEXT,
    exit_code INTEGER,
    exit_signal INTEGER,
    created_at REAL NOT NULL,
    started_at REAL,
    ended_at REAL,
    PRIMARY KEY (submission, position)
) WITHOUT ROWID;
CREATE UNIQUE INDEX attempt_number ON attempt (job_id, number);

CREATE TABLE property (
    job_id INTEGER NOT NULL REFERENCES job,
    name TEXT NOT NULL,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    attempt INTEGER NOT NULL,         -- number of the attempt that gave it
    value TEXT NOT NULL,              -- JSON
    PRIMARY KEY (job_id, name)
) WITHOUT ROWID;

CREATE TABLE file (
    id INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    job_id INTEGER REFERENCES job,
    attempt INTEGER,
    role TEXT NOT NULL,               -- source, output
    path TEXT NOT NULL,               -- relative to the workflow's directory
    bytes INTEGER,
    sha256 TEXT
);
CREATE INDEX file_job ON file (job_id);

CREATE TABLE rejected (
    id INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    step_id INTEGER NOT NULL REFERENCES step,
    orig_index INTEGER NOT NULL,
    line INTEGER NOT NULL,
    reason TEXT NOT NULL
);

CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    job_id INTEGER NOT NULL,          -- 0 for the whole workflow
    data TEXT NOT NULL                -- JSON
);
CREATE INDEX event_job ON event (job_id) WHERE job_id > 0;

-- how many jobs are in each state; kept in the same transactions as the jobs, so that no one ever counts a million rows
CREATE TABLE tally (
    workflow_id TEXT NOT NULL REFERENCES workflow,
    state TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    PRIMARY KEY (workflow_id, state)
) WITHOUT ROWID;
