PRAGMA page_size = 8192;
PRAGMA application_id = 1346719315;
PRAGMA user_version = 4;
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
    ended_at REAL, remedy TEXT, evidence TEXT, revision INTEGER NOT NULL DEFAULT 0, output TEXT,
    PRIMARY KEY (submission, position)
) WITHOUT ROWID;
INSERT INTO "attempt" VALUES('w',1,1,'01MCC5RM1JRNSPPMH82YMPKE23',0,'jobs/0000/1/1','failed','scf_not_converged','as agreed',0,NULL,1800000000.05,1800000000.2,1800000001.2,NULL,NULL,0,NULL);
INSERT INTO "attempt" VALUES('w',1,2,'01MCC5RP029090ABYPKQ69B1SQ',0,'jobs/0000/1/2','completed',NULL,NULL,0,NULL,1800000002.05,1800000002.2,1800000003.2,'{"rule":"mixing","changes":["more_mixing none → 10","on from the last geometry and checkpoint"],"after":1}',NULL,0,NULL);
INSERT INTO "attempt" VALUES('w',2,1,'01MCC5RP1M2YB4ZFGSB4ECD00G',0,'jobs/0000/2/1','completed',NULL,NULL,0,NULL,1800000002.1,1800000002.25,1800000003.25,NULL,NULL,0,NULL);
INSERT INTO "attempt" VALUES('w',7,1,'01MCC5RQYJCF8QAQYKGM7V0KFX',0,'jobs/0000/7/1','completed',NULL,NULL,0,NULL,1800000004.05,1800000004.2,1800000005.2,NULL,NULL,0,NULL);
INSERT INTO "attempt" VALUES('w',8,1,'01MCC5RQYJPHA9MMNZQCJ888B9',0,'jobs/0000/8/1','failed','exit_code','as agreed',0,NULL,1800000004.05,1800000004.2,1800000005.2,NULL,NULL,0,NULL);
INSERT INTO "attempt" VALUES('w',13,1,'01MCC5RSX2VZWJ48V6PTHFC4YN',0,'jobs/0000/13/1','completed',NULL,NULL,0,NULL,1800000006.05,1800000006.2,1800000007.2,NULL,NULL,0,NULL);
INSERT INTO "attempt" VALUES('w',9,1,'01MCC5RTTRQ9G7G19HSVXXBAKN',0,'jobs/0000/9/1','completed',NULL,NULL,0,NULL,1800000007.0,1800000007.15,1800000008.15,NULL,NULL,0,NULL);
INSERT INTO "attempt" VALUES('w',15,1,'01MCC5RWTT34YSKKBA1YA2YJV8',0,'jobs/0000/15/1','running',NULL,NULL,NULL,NULL,1800000009.05,1800000009.2,NULL,NULL,NULL,0,NULL);
INSERT INTO "attempt" VALUES('w',7,2,'01MCC5RWTT34YSKKBA1YA2YJV8',1,'jobs/0000/7/2','in_doubt',NULL,NULL,NULL,NULL,1800000009.05,1800000009.2,NULL,NULL,NULL,0,NULL);
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
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    job_id INTEGER NOT NULL,          -- 0 for the whole workflow
    data TEXT NOT NULL                -- JSON
);
INSERT INTO "event" VALUES(1,'w',1.79589983075443625454e+09,'workflow_created',0,'{"recipe":"crystal"}');
INSERT INTO "event" VALUES(2,'w',1.79589983086143803597e+09,'jobs_ingested',0,'{"jobs":6,"rejected":0,"done":true}');
INSERT INTO "event" VALUES(3,'w',1.79589983086546540265e+09,'job_awaits',2,'{"workflow":"w","of_job":1}');
INSERT INTO "event" VALUES(4,'w',1.79589983086546540265e+09,'job_awaits',3,'{"workflow":"w","of_job":1}');
INSERT INTO "event" VALUES(5,'w',1.79589983086546540265e+09,'job_awaits',4,'{"workflow":"w","of_job":1}');
INSERT INTO "event" VALUES(6,'w',1.79589983086546540265e+09,'job_awaits',5,'{"workflow":"w","of_job":1}');
INSERT INTO "event" VALUES(7,'w',1.79589983086546540265e+09,'job_awaits',6,'{"workflow":"w","of_job":1}');
INSERT INTO "event" VALUES(8,'w',1.79589983087218213082e+09,'submission_intended',0,'{"submission":"01MCC5RM1JRNSPPMH82YMPKE23","jobs":1,"lane":0}');
INSERT INTO "event" VALUES(9,'w',1.79589983088247346874e+09,'job_started',1,'{"attempt":1}');
INSERT INTO "event" VALUES(10,'w',1.79589983089011192328e+09,'job_remedied',1,'{"attempt":1,"failure":"scf_not_converged","message":"as agreed","decision":"rule mixing: more_mixing none → 10, on from the last geometry and checkpoint","rule":"mixing","changes":["more_mixing none → 10","on from the last geometry and checkpoint"]}');
INSERT INTO "event" VALUES(11,'w',1.79589983090272951125e+09,'submission_intended',0,'{"submission":"01MCC5RP029090ABYPKQ69B1SQ","jobs":1,"lane":0}');
INSERT INTO "event" VALUES(12,'w',1.79589983091171860691e+09,'job_awaits',3,'{"workflow":"w","of_job":2}');
INSERT INTO "event" VALUES(13,'w',1.79589983091171860691e+09,'job_awaits',4,'{"workflow":"w","of_job":2}');
INSERT INTO "event" VALUES(14,'w',1.79589983091171860691e+09,'job_awaits',5,'{"workflow":"w","of_job":2}');
INSERT INTO "event" VALUES(15,'w',1.79589983091171860691e+09,'job_awaits',6,'{"workflow":"w","of_job":2}');
INSERT INTO "event" VALUES(16,'w',1.79589983091429615026e+09,'submission_intended',0,'{"submission":"01MCC5RP1M2YB4ZFGSB4ECD00G","jobs":1,"lane":1}');
INSERT INTO "event" VALUES(17,'w',1.79589983092201209069e+09,'job_started',2,'{"attempt":1}');
INSERT INTO "event" VALUES(18,'w',1.79589983092620682713e+09,'job_started',1,'{"attempt":2}');
INSERT INTO "event" VALUES(19,'w',1.79589983093447661402e+09,'job_completed',1,'{"attempt":2,"energy_hartree":-1.0}');
INSERT INTO "event" VALUES(20,'w',1.7958998309430272579e+09,'submission_intended',0,'{"submission":"01MCC5RQYJCF8QAQYKGM7V0KFX","jobs":1,"lane":0}');
INSERT INTO "event" VALUES(21,'w',1.7958998309451408386e+09,'job_completed',2,'{"attempt":1,"energy_hartree":-1.0}');
INSERT INTO "event" VALUES(22,'w',1.79589983095463466642e+09,'submission_intended',0,'{"submission":"01MCC5RQYJPHA9MMNZQCJ888B9","jobs":1,"lane":1}');
INSERT INTO "event" VALUES(23,'w',1.79589983096597051621e+09,'job_started',7,'{"attempt":1}');
INSERT INTO "event" VALUES(24,'w',1.79589983097240829469e+09,'job_started',8,'{"attempt":1}');
INSERT INTO "event" VALUES(25,'w',1.79589983097836971281e+09,'job_reused',3,'{"workflow":"w","of_job":2,"energy_hartree":-1.0}');
INSERT INTO "event" VALUES(26,'w',1.79589983097836971281e+09,'job_reused',4,'{"workflow":"w","of_job":2,"energy_hartree":-1.0}');
INSERT INTO "event" VALUES(27,'w',1.79589983097836971281e+09,'job_reused',5,'{"workflow":"w","of_job":2,"energy_hartree":-1.0}');
INSERT INTO "event" VALUES(28,'w',1.79589983097836971281e+09,'job_reused',6,'{"workflow":"w","of_job":2,"energy_hartree":-1.0}');
INSERT INTO "event" VALUES(29,'w',1.79589983098263883593e+09,'job_awaits',9,'{"workflow":"w","of_job":8}');
INSERT INTO "event" VALUES(30,'w',1.79589983098263883593e+09,'job_awaits',10,'{"workflow":"w","of_job":8}');
INSERT INTO "event" VALUES(31,'w',1.79589983098263883593e+09,'job_awaits',11,'{"workflow":"w","of_job":8}');
INSERT INTO "event" VALUES(32,'w',1.79589983098263883593e+09,'job_awaits',12,'{"workflow":"w","of_job":8}');
INSERT INTO "event" VALUES(33,'w',1.79589983098692846296e+09,'job_completed',7,'{"attempt":1,"energy_hartree":-1.0}');
INSERT INTO "event" VALUES(34,'w',1.79589983099485158918e+09,'submission_intended',0,'{"submission":"01MCC5RSX2VZWJ48V6PTHFC4YN","jobs":1,"lane":0}');
INSERT INTO "event" VALUES(35,'w',1.79589983099737238885e+09,'job_failed',8,'{"attempt":1,"failure":"exit_code","message":"as agreed","decision":"attempt 1 of 1"}');
INSERT INTO "event" VALUES(36,'w',1.79589983100719738006e+09,'job_started',13,'{"attempt":1}');
INSERT INTO "event" VALUES(37,'w',1.79589983101437473296e+09,'job_awaits',10,'{"workflow":"w","of_job":9}');
INSERT INTO "event" VALUES(38,'w',1.79589983101437473296e+09,'job_awaits',11,'{"workflow":"w","of_job":9}');
INSERT INTO "event" VALUES(39,'w',1.79589983101437473296e+09,'job_awaits',12,'{"workflow":"w","of_job":9}');
INSERT INTO "event" VALUES(40,'w',1.79589983101831793784e+09,'submission_intended',0,'{"submission":"01MCC5RTTRQ9G7G19HSVXXBAKN","jobs":1,"lane":1}');
INSERT INTO "event" VALUES(41,'w',1.79589983102597355846e+09,'job_started',9,'{"attempt":1}');
INSERT INTO "event" VALUES(42,'w',1.79589983103118658062e+09,'job_completed',13,'{"attempt":1,"energy_hartree":-1.0}');
INSERT INTO "event" VALUES(43,'w',1.79589983104015231138e+09,'job_completed',9,'{"attempt":1,"energy_hartree":-1.0}');
INSERT INTO "event" VALUES(44,'w',1.79589983104648208619e+09,'submission_intended',0,'{"submission":"01MCC5RWTT34YSKKBA1YA2YJV8","jobs":1,"lane":0}');
INSERT INTO "event" VALUES(45,'w',1.79589983105468916895e+09,'job_started',15,'{"attempt":1}');
INSERT INTO "event" VALUES(46,'w',1.7958998310624277591e+09,'job_reused',10,'{"workflow":"w","of_job":9,"energy_hartree":-1.0}');
INSERT INTO "event" VALUES(47,'w',1.7958998310624277591e+09,'job_reused',11,'{"workflow":"w","of_job":9,"energy_hartree":-1.0}');
INSERT INTO "event" VALUES(48,'w',1.7958998310624277591e+09,'job_reused',12,'{"workflow":"w","of_job":9,"energy_hartree":-1.0}');
INSERT INTO "event" VALUES(49,'w',1.79589983106622695921e+09,'job_awaits',16,'{"workflow":"w","of_job":15}');
INSERT INTO "event" VALUES(50,'w',1.79589983106622695921e+09,'job_awaits',17,'{"workflow":"w","of_job":15}');
INSERT INTO "event" VALUES(51,'w',1.79589983106622695921e+09,'job_awaits',18,'{"workflow":"w","of_job":15}');
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
, memory_mb INTEGER, walltime_s INTEGER, step TEXT, parent_id INTEGER, deck TEXT, final_deck TEXT, checkpoint TEXT, handed TEXT, resume TEXT, parameters TEXT, remedies TEXT, calculation TEXT, awaits INTEGER, origin TEXT, method TEXT);
INSERT INTO "job" VALUES(1,0,'H',1,'completed',0,2,'1

H 0 0 0
','jobs/0000/1/2',NULL,NULL,-1.0,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:50','w',1,1,'h0',2,'completed',2,0,0,NULL,0,0,NULL,1.0,'1

H 1 2 0
',NULL,NULL,'OPT',NULL,NULL,NULL,'["fort.9"]',NULL,'{"directory":"jobs/0000/1/1","geometry":"1\n\nH 0 0 1\n"}','{"task":"opt","argv":["crystal"],"properties":["properties"],"more_mixing":10}','[{"rule":"mixing","changes":["more_mixing none → 10","on from the last geometry and checkpoint"],"after":1}]','1db471845c30a45c9d8ecf7383f31fb0:94df9af1a31d25c08ece6a8edd30b7bf',NULL,NULL,NULL);
INSERT INTO "job" VALUES(2,1,'H',1,'completed',0,2,'1

H 0 0 0
','jobs/0000/2/1',NULL,NULL,-1.0,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:50','w',1,2,'h1',3,'completed',1,0,0,NULL,0,0,NULL,1.0,'1

H 2 1 0
',NULL,NULL,'OPT',NULL,NULL,NULL,'["fort.9"]',NULL,NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:94df9af1a31d25c08ece6a8edd30b7bf',NULL,NULL,NULL);
INSERT INTO "job" VALUES(3,2,'H',1,'completed',0,2,'1

H 0 0 0
','jobs/0000/2/1',NULL,NULL,-1.0,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:50','w',1,3,'h2',4,'completed',0,0,0,NULL,0,0,NULL,NULL,'1

H 2 1 0
',NULL,NULL,'OPT',NULL,NULL,NULL,'["fort.9"]',NULL,NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:94df9af1a31d25c08ece6a8edd30b7bf',NULL,'{"workflow":"w","job":2,"attempt":1,"directory":"jobs/0000/2/1"}',NULL);
INSERT INTO "job" VALUES(4,3,'H',1,'completed',0,2,'1

H 0 0 0
','jobs/0000/2/1',NULL,NULL,-1.0,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:50','w',1,4,'h3',5,'completed',0,0,0,NULL,0,0,NULL,NULL,'1

H 2 1 0
',NULL,NULL,'OPT',NULL,NULL,NULL,'["fort.9"]',NULL,NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:94df9af1a31d25c08ece6a8edd30b7bf',NULL,'{"workflow":"w","job":2,"attempt":1,"directory":"jobs/0000/2/1"}',NULL);
INSERT INTO "job" VALUES(5,4,'H',1,'cancelled',0,2,'1

H 0 0 0
','jobs/0000/2/1',NULL,NULL,-1.0,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:50','w',1,5,'h4',6,'cancelled',0,0,0,NULL,0,0,NULL,NULL,'1

H 2 1 0
',NULL,NULL,'OPT',NULL,NULL,NULL,'["fort.9"]',NULL,NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:94df9af1a31d25c08ece6a8edd30b7bf',NULL,'{"workflow":"w","job":2,"attempt":1,"directory":"jobs/0000/2/1"}',NULL);
INSERT INTO "job" VALUES(6,5,'H',1,'timeout',0,2,'1

H 0 0 0
','jobs/0000/2/1',NULL,NULL,-1.0,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:50','w',1,6,'h5',7,'timeout',0,0,0,NULL,0,0,NULL,NULL,'1

H 2 1 0
',NULL,NULL,'OPT',NULL,NULL,NULL,'["fort.9"]',NULL,NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:94df9af1a31d25c08ece6a8edd30b7bf',NULL,'{"workflow":"w","job":2,"attempt":1,"directory":"jobs/0000/2/1"}',NULL);
INSERT INTO "job" VALUES(7,0,'H',1,'running',0,2,'1

H 1 2 0
','jobs/0000/7/1',NULL,NULL,-1.0,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:50','w',2,1,'h0',2,'in_doubt',2,0,0,NULL,0,0,NULL,1.0,'1

H 7 1 0
',NULL,NULL,'SP',1,NULL,NULL,'["fort.9"]','{"directory":"jobs/0000/1/2","files":["fort.9"]}',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "job" VALUES(8,1,'H',1,'failed',0,2,'1

H 2 1 0
','jobs/0000/8/1',NULL,NULL,NULL,'as agreed','2026-11-28 21:03:50','2026-11-28 21:03:50','w',2,2,'h1',3,'failed',1,1,0,NULL,0,0,'exit_code',1.0,NULL,NULL,NULL,'SP',2,NULL,NULL,NULL,'{"directory":"jobs/0000/2/1","files":["fort.9"]}',NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:dabe80c64059383a374096caf82f99b8',NULL,NULL,NULL);
INSERT INTO "job" VALUES(9,2,'H',1,'running',0,2,'1

H 2 1 0
','jobs/0000/9/1',NULL,NULL,-1.0,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:51','w',2,3,'h2',4,'collecting',1,0,0,NULL,0,0,NULL,1.0,'1

H 9 1 0
',NULL,NULL,'SP',3,NULL,NULL,'["fort.9"]','{"directory":"jobs/0000/2/1","files":["fort.9"]}',NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:dabe80c64059383a374096caf82f99b8',NULL,NULL,NULL);
INSERT INTO "job" VALUES(10,3,'H',1,'ready',0,2,'1

H 2 1 0
','jobs/0000/9/1',NULL,NULL,-1.0,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:51','w',2,4,'h3',5,'queued',0,0,0,NULL,0,0,NULL,NULL,'1

H 9 1 0
',NULL,NULL,'SP',4,NULL,NULL,'["fort.9"]','{"directory":"jobs/0000/2/1","files":["fort.9"]}',NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:dabe80c64059383a374096caf82f99b8',NULL,'{"workflow":"w","job":9,"attempt":1,"directory":"jobs/0000/9/1"}',NULL);
INSERT INTO "job" VALUES(11,4,'H',1,'ready',0,2,'1

H 2 1 0
','jobs/0000/9/1',NULL,NULL,-1.0,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:51','w',2,5,'h4',6,'submitting',0,0,0,NULL,0,0,NULL,NULL,'1

H 9 1 0
',NULL,NULL,'SP',5,NULL,NULL,'["fort.9"]','{"directory":"jobs/0000/2/1","files":["fort.9"]}',NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:dabe80c64059383a374096caf82f99b8',NULL,'{"workflow":"w","job":9,"attempt":1,"directory":"jobs/0000/9/1"}',NULL);
INSERT INTO "job" VALUES(12,5,'H',1,'ready',0,2,'1

H 2 1 0
','jobs/0000/9/1',NULL,NULL,-1.0,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:51','w',2,6,'h5',7,'held',0,0,0,NULL,0,0,NULL,NULL,'1

H 9 1 0
',NULL,NULL,'SP',6,NULL,NULL,'["fort.9"]','{"directory":"jobs/0000/2/1","files":["fort.9"]}',NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:dabe80c64059383a374096caf82f99b8',NULL,'{"workflow":"w","job":9,"attempt":1,"directory":"jobs/0000/9/1"}',NULL);
INSERT INTO "job" VALUES(13,0,'H',1,'ready',0,2,'1

H 7 1 0
','jobs/0000/13/1',NULL,NULL,-1.0,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:51','w',3,1,'h0',2,'ready',1,0,0,NULL,0,0,NULL,1.0,'1

H 13 1 0
',NULL,NULL,'BAND',7,NULL,NULL,'["fort.9"]','{"directory":"jobs/0000/7/1","files":["fort.9"]}',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "job" VALUES(14,1,'H',1,'skipped',0,2,'1

H 0 0 0
',NULL,NULL,NULL,NULL,'its step SP failed','2026-11-28 21:03:50','2026-11-28 21:03:50','w',3,2,'h1',3,'skipped',0,0,0,NULL,0,0,NULL,NULL,NULL,NULL,NULL,'BAND',8,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:44b7c5993ef657e85863dad61e2c49e9',NULL,NULL,NULL);
INSERT INTO "job" VALUES(15,2,'H',1,'running',0,2,'1

H 9 1 0
','jobs/0000/15/1',NULL,NULL,NULL,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:51','w',3,3,'h2',4,'running',1,0,0,NULL,0,0,NULL,NULL,NULL,NULL,NULL,'BAND',9,NULL,NULL,NULL,'{"directory":"jobs/0000/9/1","files":["fort.9"]}',NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:44b7c5993ef657e85863dad61e2c49e9',NULL,NULL,NULL);
INSERT INTO "job" VALUES(16,3,'H',1,'ready',0,2,'1

H 9 1 0
',NULL,NULL,NULL,NULL,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:51','w',3,4,'h3',5,'waiting',0,0,0,NULL,0,0,NULL,NULL,NULL,NULL,NULL,'BAND',10,NULL,NULL,NULL,'{"directory":"jobs/0000/9/1","files":["fort.9"]}',NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:44b7c5993ef657e85863dad61e2c49e9',15,NULL,NULL);
INSERT INTO "job" VALUES(17,4,'H',1,'ready',0,2,'1

H 9 1 0
',NULL,NULL,NULL,NULL,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:51','w',3,5,'h4',6,'waiting',0,0,0,NULL,0,0,NULL,NULL,NULL,NULL,NULL,'BAND',11,NULL,NULL,NULL,'{"directory":"jobs/0000/9/1","files":["fort.9"]}',NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:44b7c5993ef657e85863dad61e2c49e9',15,NULL,NULL);
INSERT INTO "job" VALUES(18,5,'H',1,'ready',0,2,'1

H 9 1 0
',NULL,NULL,NULL,NULL,NULL,'2026-11-28 21:03:50','2026-11-28 21:03:51','w',3,6,'h5',7,'waiting',0,0,0,NULL,0,0,NULL,NULL,NULL,NULL,NULL,'BAND',12,NULL,NULL,NULL,'{"directory":"jobs/0000/9/1","files":["fort.9"]}',NULL,NULL,NULL,'1db471845c30a45c9d8ecf7383f31fb0:44b7c5993ef657e85863dad61e2c49e9',15,NULL,NULL);
CREATE TABLE material (
    id INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    step_id INTEGER NOT NULL REFERENCES step,
    source_index INTEGER NOT NULL     -- which record of the step's source
, key TEXT, structure TEXT);
INSERT INTO "material" VALUES(1,'w','shared','h0',1,0,'1db471845c30a45c9d8ecf7383f31fb0',NULL);
INSERT INTO "material" VALUES(2,'w','shared','h1',1,1,'1db471845c30a45c9d8ecf7383f31fb0',NULL);
INSERT INTO "material" VALUES(3,'w','shared','h2',1,2,'1db471845c30a45c9d8ecf7383f31fb0',NULL);
INSERT INTO "material" VALUES(4,'w','shared','h3',1,3,'1db471845c30a45c9d8ecf7383f31fb0',NULL);
INSERT INTO "material" VALUES(5,'w','shared','h4',1,4,'1db471845c30a45c9d8ecf7383f31fb0',NULL);
INSERT INTO "material" VALUES(6,'w','shared','h5',1,5,'1db471845c30a45c9d8ecf7383f31fb0',NULL);
CREATE TABLE merged (
    workflow_id TEXT NOT NULL REFERENCES workflow,
    source_job INTEGER NOT NULL,
    job_id INTEGER NOT NULL REFERENCES job,
    digest TEXT NOT NULL,             -- of what was merged: another one, and it is merged again
    PRIMARY KEY (workflow_id, source_job)
) WITHOUT ROWID;
CREATE TABLE property (
    job_id INTEGER NOT NULL REFERENCES job,
    name TEXT NOT NULL,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    attempt INTEGER NOT NULL,         -- number of the attempt that gave it
    value TEXT NOT NULL, unit TEXT,              -- JSON
    PRIMARY KEY (job_id, name)
) WITHOUT ROWID;
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
CREATE TABLE rejected (
    id INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    step_id INTEGER NOT NULL REFERENCES step,
    orig_index INTEGER NOT NULL,
    line INTEGER NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE step (
    id INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,              -- expanding, running, completed, failed, cancelled
    cursor TEXT NOT NULL DEFAULT '', after TEXT, parameters TEXT, resources TEXT, optional INTEGER NOT NULL DEFAULT 0,  -- how far the source has been turned into jobs
    UNIQUE (workflow_id, key)
);
INSERT INTO "step" VALUES(1,'w','OPT','fan','running','6',NULL,'{"task":"opt","argv":["crystal"],"properties":["properties"]}','{"cores":1,"memory_mb":1000,"walltime_s":3600,"nodes":1,"tasks":1,"gpus":0}',0);
INSERT INTO "step" VALUES(2,'w','SP','fan','running','','OPT','{"task":"sp","argv":["crystal"],"properties":["properties"]}','{"cores":1,"memory_mb":1000,"walltime_s":3600,"nodes":1,"tasks":1,"gpus":0}',0);
INSERT INTO "step" VALUES(3,'w','BAND','fan','running','','SP','{"task":"band","argv":["crystal"],"properties":["properties"]}','{"cores":1,"memory_mb":1000,"walltime_s":3600,"nodes":1,"tasks":1,"gpus":0}',0);
CREATE TABLE submission (
    ulid TEXT PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflow,
    cluster TEXT NOT NULL,
    lane INTEGER NOT NULL,
    size INTEGER NOT NULL,
    state TEXT NOT NULL,              -- open, closed
    created_at REAL NOT NULL,
    closed_at REAL
, width INTEGER NOT NULL DEFAULT 1, memory_mb INTEGER, walltime_s INTEGER, step_id INTEGER, locks TEXT);
INSERT INTO "submission" VALUES('01MCC5RM1JRNSPPMH82YMPKE23','w','local',0,1,'closed',1800000000.05,1.79589983089800524704e+09,1,NULL,NULL,1,NULL);
INSERT INTO "submission" VALUES('01MCC5RP029090ABYPKQ69B1SQ','w','local',0,1,'closed',1800000002.05,1.79589983093698883059e+09,1,NULL,NULL,1,NULL);
INSERT INTO "submission" VALUES('01MCC5RP1M2YB4ZFGSB4ECD00G','w','local',1,1,'closed',1800000002.1,1.79589983095022916789e+09,1,NULL,NULL,1,NULL);
INSERT INTO "submission" VALUES('01MCC5RQYJCF8QAQYKGM7V0KFX','w','local',0,1,'closed',1800000004.05,1.79589983098882365226e+09,1,NULL,NULL,2,NULL);
INSERT INTO "submission" VALUES('01MCC5RQYJPHA9MMNZQCJ888B9','w','local',1,1,'closed',1800000004.05,1.79589983100198960302e+09,1,NULL,NULL,2,NULL);
INSERT INTO "submission" VALUES('01MCC5RSX2VZWJ48V6PTHFC4YN','w','local',0,1,'closed',1800000006.05,1.79589983103297948837e+09,1,NULL,NULL,3,NULL);
INSERT INTO "submission" VALUES('01MCC5RTTRQ9G7G19HSVXXBAKN','w','local',1,1,'closed',1800000007.0,1.79589983104191827775e+09,1,NULL,NULL,2,NULL);
INSERT INTO "submission" VALUES('01MCC5RWTT34YSKKBA1YA2YJV8','w','local',0,2,'open',1800000009.05,NULL,1,NULL,NULL,3,NULL);
CREATE TABLE tally (
    workflow_id TEXT NOT NULL REFERENCES workflow,
    state TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    PRIMARY KEY (workflow_id, state)
) WITHOUT ROWID;
INSERT INTO "tally" VALUES('w','cancelled',1);
INSERT INTO "tally" VALUES('w','collecting',1);
INSERT INTO "tally" VALUES('w','completed',4);
INSERT INTO "tally" VALUES('w','failed',1);
INSERT INTO "tally" VALUES('w','held',1);
INSERT INTO "tally" VALUES('w','in_doubt',1);
INSERT INTO "tally" VALUES('w','queued',1);
INSERT INTO "tally" VALUES('w','ready',1);
INSERT INTO "tally" VALUES('w','running',1);
INSERT INTO "tally" VALUES('w','skipped',1);
INSERT INTO "tally" VALUES('w','submitting',1);
INSERT INTO "tally" VALUES('w','timeout',1);
INSERT INTO "tally" VALUES('w','waiting',3);
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
, daemon TEXT, seen_at TEXT, revision INTEGER NOT NULL DEFAULT 0);
INSERT INTO "workflow" VALUES('w','crystal',1,'{"recipe":"crystal","structures":{"source":"molecules.csv","format":null,"geometry_column":null,"charge_column":null,"unpaired_column":null,"multiplicity_column":null,"name_column":null,"charge":0,"multiplicity":null},"engine":{"name":"crystal"},"id":null,"cluster":"local","slots":2,"priority":0,"isolation":"isolated","resources":{"cores":1,"memory":"1GB","walltime":"1h","nodes":1,"tasks":1,"gpus":0},"retry":{"max_attempts":1,"delay":null,"walltime_growth":1.0,"walltime_max":null,"memory_growth":1.0,"memory_max":null},"scheduler":{"partition":"","queue":"","account":"","qos":"","constraint":"","licenses":"","reservation":"","launcher":"","setup":"","directives":[]},"batch":{"style":"auto","size":1000},"checkpoint":{"command":"","carry":[]},"remedies":{"total":3,"engine":true,"limits":{},"rules":[]},"limits":{"max_jobs":null,"reserve":0,"per_cycle":null,"cycle":"1min"},"locks":{"resources":{},"names":[]},"chain":{"template":"","steps":["OPT","SP","BAND"],"optional":[],"usual_resources":false},"retention":{"archive_after":"","delete_after":"","keep_last":0,"destination":""},"steps":{},"metadata":{},"on_complete":[{"action":"export"}]}','{"task": "sp", "argv": ["crystal"], "properties": ["properties"]}','shared','shared','running',NULL,2,'spec',0,1800000000.0,1800000000.0,NULL,'2026-11-28 21:03:51',0);
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
CREATE INDEX job_ready_raised ON job (memory_mb, walltime_s, id)
    WHERE state = 'ready' AND (memory_mb IS NOT NULL OR walltime_s IS NOT NULL);
CREATE INDEX job_parent ON job (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX job_calculation ON job (calculation) WHERE calculation IS NOT NULL;
CREATE INDEX job_awaits ON job (workflow_id, awaits) WHERE awaits IS NOT NULL;
CREATE INDEX execution_status ON execution (workflow_id, status);
CREATE INDEX execution_step_execution ON execution_step (workflow_id, execution_id, step_index);
CREATE INDEX queued_job_execution ON queued_job (workflow_id, execution_id);
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
COMMIT;
