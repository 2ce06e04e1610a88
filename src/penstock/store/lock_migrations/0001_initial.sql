-- The last token of each resource outlives its leases: it never falls, and no token is given twice.
CREATE TABLE resource (
    name TEXT PRIMARY KEY,
    token INTEGER NOT NULL DEFAULT 0,
    capacity INTEGER                  -- NULL: as for a resource that nobody has spoken of
) WITHOUT ROWID;

CREATE TABLE lease (
    resource TEXT NOT NULL,
    token INTEGER NOT NULL,
    holder TEXT NOT NULL,
    count INTEGER NOT NULL,
    since REAL NOT NULL,
    expires_at REAL,                  -- NULL: ends by evidence, never by the clock
    process TEXT,
    PRIMARY KEY (resource, token)
) WITHOUT ROWID;

CREATE TABLE waiter (
    name TEXT NOT NULL UNIQUE,
    needs TEXT NOT NULL,              -- JSON: resource → count
    priority INTEGER NOT NULL,
    ticket INTEGER PRIMARY KEY AUTOINCREMENT,
    since REAL NOT NULL,
    seen_at REAL NOT NULL,
    process TEXT
);
