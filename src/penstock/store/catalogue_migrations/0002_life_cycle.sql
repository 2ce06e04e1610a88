ALTER TABLE workflow ADD COLUMN operation TEXT;  -- JSON: what is being done to it as a whole; NULL: nothing

-- archives that were written and verified here; they outlive the workflow
CREATE TABLE archive (
    location TEXT PRIMARY KEY,        -- absolute path or URL
    workflow_id TEXT NOT NULL,
    work_root TEXT NOT NULL,          -- where it was, and is restored to when nobody says otherwise
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,             -- of the whole file
    files INTEGER NOT NULL,
    state TEXT NOT NULL,              -- the workflow's
    jobs INTEGER NOT NULL,
    changed_at REAL NOT NULL,         -- when the workflow had last changed
    archived_at REAL NOT NULL
);
CREATE INDEX archive_workflow ON archive (workflow_id, archived_at);
