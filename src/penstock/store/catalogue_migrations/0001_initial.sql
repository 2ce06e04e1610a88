CREATE TABLE workflow (
    id TEXT PRIMARY KEY,
    directory TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    snapshot TEXT,                    -- the last known WorkflowInfo, JSON
    created_at REAL NOT NULL
);
