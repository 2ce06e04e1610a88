PRAGMA page_size = 8192;
PRAGMA application_id = 1346719315;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
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
INSERT INTO "attempt" VALUES('w',1,1,'01MCC5RM0079XTDA0B0A1KC5KB',0,'jobs/0000/1/1','completed',NULL,NULL,0,NULL,1800000000.0,1800000000.0,1800000002.0);
INSERT INTO "attempt" VALUES('w',2,1,'01MCC5RM0079XTDA0B0A1KC5KB',1,'jobs/0000/2/1','failed','exit_code','ended with exit code 1',0,NULL,1800000000.0,1800000000.0,1800000002.0);
INSERT INTO "attempt" VALUES('w',3,1,'01MCC5RM0079XTDA0B0A1KC5KB',2,'jobs/0000/3/1','failed','exit_code','ended with exit code 1',0,NULL,1800000000.0,1800000000.0,1800000002.0);
INSERT INTO "attempt" VALUES('w',4,1,'01MCC5RM0079XTDA0B0A1KC5KB',3,'jobs/0000/4/1','running',NULL,NULL,NULL,NULL,1800000000.0,NULL,NULL);
INSERT INTO "attempt" VALUES('w',5,1,'01MCC5RM0079XTDA0B0A1KC5KB',4,'jobs/0000/5/1','in_doubt',NULL,NULL,NULL,NULL,1800000000.0,NULL,NULL);
INSERT INTO "attempt" VALUES('w',6,1,'01MCC5RM00RRQ3DVH9MHQ3DSTJ',0,'jobs/0000/6/1','queued',NULL,NULL,NULL,NULL,1800000000.0,NULL,NULL);
INSERT INTO "attempt" VALUES('w',7,1,'01MCC5RM00RRQ3DVH9MHQ3DSTJ',1,'jobs/0000/7/1','collecting',NULL,NULL,NULL,NULL,1800000000.0,NULL,NULL);
INSERT INTO "attempt" VALUES('w',8,1,'01MCC5RM00RRQ3DVH9MHQ3DSTJ',2,'jobs/0000/8/1','intent',NULL,NULL,NULL,NULL,1800000000.0,NULL,NULL);
INSERT INTO "attempt" VALUES('w',9,1,'01MCC5RM00RRQ3DVH9MHQ3DSTJ',3,'jobs/0000/9/1','timeout',NULL,NULL,NULL,NULL,1800000000.0,NULL,NULL);
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    job_id INTEGER NOT NULL,          -- 0 for the whole workflow
    data TEXT NOT NULL                -- JSON
);
INSERT INTO "event" VALUES(1,'w',1.79588720804315209386e+09,'workflow_created',0,'{"recipe":"campaign"}');
INSERT INTO "event" VALUES(2,'w',1.79588720804856514928e+09,'jobs_ingested',0,'{"jobs":14,"rejected":2,"done":true}');
INSERT INTO "event" VALUES(3,'w',1.79588720805038619043e+09,'submission_intended',0,'{"submission":"01MCC5RM0079XTDA0B0A1KC5KB","jobs":5,"lane":0}');
INSERT INTO "event" VALUES(4,'w',1.79588720805142831806e+09,'job_completed',1,'{"attempt":1,"energy_hartree":-5.25}');
INSERT INTO "event" VALUES(5,'w',1795887208.05255,'submission_intended',0,'{"submission":"01MCC5RM00RRQ3DVH9MHQ3DSTJ","jobs":4,"lane":0}');
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
INSERT INTO "file" VALUES(1,'w',NULL,NULL,'source','source/m.csv',10,'0000000000000000000000000000000000000000000000000000000000000000');
INSERT INTO "file" VALUES(2,'w',1,1,'output','jobs/0000/1/1/stdout',NULL,NULL);
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
INSERT INTO "job" VALUES(1,0,'H',1,'completed',0,2,'1

H 0 0 0
','jobs/0000/1/1',0.125,7,-5.25,NULL,'2026-11-28 17:33:28','2026-11-28 17:33:28','w',1,1,'h0',2,'completed',1,0,0,NULL,0,0,NULL,2.0,NULL);
INSERT INTO "job" VALUES(2,1,'H',1,'failed',0,2,'1

H 0 0 0
','jobs/0000/2/1',NULL,NULL,NULL,'ended with exit code 1','2026-11-28 17:33:28','2026-11-28 17:33:28','w',1,2,'h1',3,'failed',1,1,0,NULL,0,0,'exit_code',2.0,NULL);
INSERT INTO "job" VALUES(3,2,'H',1,'ready',0,2,'1

H 0 0 0
','jobs/0000/3/1',NULL,NULL,NULL,'ended with exit code 1','2026-11-28 17:33:28','2026-11-28 17:33:28','w',1,3,'h2',4,'ready',1,1,0,1800000060.0,0,0,'exit_code',2.0,NULL);
INSERT INTO "job" VALUES(4,3,'H',1,'running',0,2,'1

H 0 0 0
','jobs/0000/4/1',NULL,NULL,NULL,NULL,'2026-11-28 17:33:28','2026-11-28 17:33:28','w',1,4,'h3',5,'running',1,0,0,NULL,0,0,NULL,NULL,NULL);
INSERT INTO "job" VALUES(5,4,'H',1,'running',0,2,'1

H 0 0 0
','jobs/0000/5/1',NULL,NULL,NULL,NULL,'2026-11-28 17:33:28','2026-11-28 17:33:28','w',1,5,'h4',6,'in_doubt',1,0,0,NULL,0,0,NULL,NULL,NULL);
INSERT INTO "job" VALUES(6,5,'H',1,'ready',0,2,'1

H 0 0 0
','jobs/0000/6/1',NULL,NULL,NULL,NULL,'2026-11-28 17:33:28','2026-11-28 17:33:28','w',1,6,'h5',7,'queued',1,0,0,NULL,0,0,NULL,NULL,NULL);
INSERT INTO "job" VALUES(7,6,'H',1,'running',0,2,'1

H 0 0 0
','jobs/0000/7/1',NULL,NULL,NULL,NULL,'2026-11-28 17:33:28','2026-11-28 17:33:28','w',1,7,'h6',8,'collecting',1,0,0,NULL,0,0,NULL,NULL,NULL);
INSERT INTO "job" VALUES(8,7,'H',1,'ready',0,2,'1

H 0 0 0
','jobs/0000/8/1',NULL,NULL,NULL,NULL,'2026-11-28 17:33:28','2026-11-28 17:33:28','w',1,8,'h7',9,'submitting',1,0,0,NULL,0,0,NULL,NULL,NULL);
INSERT INTO "job" VALUES(9,8,'H',1,'timeout',0,2,'1

H 0 0 0
','jobs/0000/9/1',NULL,NULL,NULL,NULL,'2026-11-28 17:33:28','2026-11-28 17:33:28','w',1,9,'h8',10,'timeout',1,0,0,NULL,0,0,NULL,NULL,NULL);
INSERT INTO "job" VALUES(10,9,'H',1,'ready',0,2,'1

H 0 0 0
',NULL,NULL,NULL,NULL,NULL,'2026-11-28 17:33:28','2026-11-28 17:33:28','w',1,10,'h9',11,'held',0,0,0,NULL,0,0,NULL,NULL,NULL);
INSERT INTO "job" VALUES(11,10,'H',1,'cancelled',0,2,'1

H 0 0 0
',NULL,NULL,NULL,NULL,NULL,'2026-11-28 17:33:28','2026-11-28 17:33:28','w',1,11,'h10',12,'cancelled',0,0,0,NULL,0,0,NULL,NULL,NULL);
INSERT INTO "job" VALUES(12,11,'H',1,'skipped',0,2,'1

H 0 0 0
',NULL,NULL,NULL,NULL,NULL,'2026-11-28 17:33:28','2026-11-28 17:33:28','w',1,12,'h11',13,'skipped',0,0,0,NULL,0,0,NULL,NULL,NULL);
INSERT INTO "job" VALUES(13,12,'H',1,'ready',0,2,'1

H 0 0 0
',NULL,NULL,NULL,NULL,NULL,'2026-11-28 17:33:28','2026-11-28 17:33:28','w',1,13,'h12',14,'ready',0,0,0,NULL,0,0,NULL,NULL,NULL);
INSERT INTO "job" VALUES(14,13,'H',1,'ready',0,2,'1

H 0 0 0
',NULL,NULL,NULL,NULL,NULL,'2026-11-28 17:33:28','2026-11-28 17:33:28','w',1,14,'h13',15,'ready',0,0,0,NULL,0,0,NULL,NULL,NULL);
CREATE TABLE material (
    id INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    step_id INTEGER NOT NULL REFERENCES step,
    source_index INTEGER NOT NULL     -- which record of the step's source
);
INSERT INTO "material" VALUES(1,'w','w','h0',1,0);
INSERT INTO "material" VALUES(2,'w','w','h1',1,1);
INSERT INTO "material" VALUES(3,'w','w','h2',1,2);
INSERT INTO "material" VALUES(4,'w','w','h3',1,3);
INSERT INTO "material" VALUES(5,'w','w','h4',1,4);
INSERT INTO "material" VALUES(6,'w','w','h5',1,5);
INSERT INTO "material" VALUES(7,'w','w','h6',1,6);
INSERT INTO "material" VALUES(8,'w','w','h7',1,7);
INSERT INTO "material" VALUES(9,'w','w','h8',1,8);
INSERT INTO "material" VALUES(10,'w','w','h9',1,9);
INSERT INTO "material" VALUES(11,'w','w','h10',1,10);
INSERT INTO "material" VALUES(12,'w','w','h11',1,11);
INSERT INTO "material" VALUES(13,'w','w','h12',1,12);
INSERT INTO "material" VALUES(14,'w','w','h13',1,13);
CREATE TABLE property (
    job_id INTEGER NOT NULL REFERENCES job,
    name TEXT NOT NULL,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    attempt INTEGER NOT NULL,         -- number of the attempt that gave it
    value TEXT NOT NULL,              -- JSON
    PRIMARY KEY (job_id, name)
) WITHOUT ROWID;
INSERT INTO "property" VALUES(1,'dipole','w',1,'[0.0,0.0,1.5]');
CREATE TABLE rejected (
    id INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    step_id INTEGER NOT NULL REFERENCES step,
    orig_index INTEGER NOT NULL,
    line INTEGER NOT NULL,
    reason TEXT NOT NULL
);
INSERT INTO "rejected" VALUES(1,'w',1,14,16,'no atoms');
INSERT INTO "rejected" VALUES(2,'w',1,15,17,'no atoms');
CREATE TABLE step (
    id INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,              -- expanding, running, completed, failed, cancelled
    cursor TEXT NOT NULL DEFAULT '',  -- how far the source has been turned into jobs
    UNIQUE (workflow_id, key)
);
INSERT INTO "step" VALUES(1,'w','calculate','fan','running','16');
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
INSERT INTO "submission" VALUES('01MCC5RM0079XTDA0B0A1KC5KB','w','local',0,5,'open',1800000000.0,NULL);
INSERT INTO "submission" VALUES('01MCC5RM00RRQ3DVH9MHQ3DSTJ','w','local',0,4,'open',1800000000.0,NULL);
CREATE TABLE tally (
    workflow_id TEXT NOT NULL REFERENCES workflow,
    state TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    PRIMARY KEY (workflow_id, state)
) WITHOUT ROWID;
INSERT INTO "tally" VALUES('w','cancelled',1);
INSERT INTO "tally" VALUES('w','collecting',1);
INSERT INTO "tally" VALUES('w','completed',1);
INSERT INTO "tally" VALUES('w','failed',1);
INSERT INTO "tally" VALUES('w','held',1);
INSERT INTO "tally" VALUES('w','in_doubt',1);
INSERT INTO "tally" VALUES('w','queued',1);
INSERT INTO "tally" VALUES('w','ready',3);
INSERT INTO "tally" VALUES('w','running',1);
INSERT INTO "tally" VALUES('w','skipped',1);
INSERT INTO "tally" VALUES('w','submitting',1);
INSERT INTO "tally" VALUES('w','timeout',1);
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
INSERT INTO "workflow" VALUES('w','campaign',1,'{}','{}','isolated','w','running',NULL,1,'spec',0,1800000000.0,1800000000.0);
CREATE INDEX job_status ON job (status);
CREATE INDEX job_orig_index ON job (orig_index);
CREATE INDEX job_ready ON job (id) WHERE state = 'ready';
CREATE VIEW jobs AS
    SELECT id, orig_index, elements, natoms, status, charge, spin, geometry, job_dir, max_forces, scf_steps,
           final_energy, error_message, created_at, updated_at
    FROM job;
CREATE INDEX submission_open ON submission (ulid) WHERE state = 'open';
CREATE UNIQUE INDEX attempt_number ON attempt (job_id, number);
CREATE INDEX file_job ON file (job_id);
CREATE INDEX event_job ON event (job_id) WHERE job_id > 0;
COMMIT;
