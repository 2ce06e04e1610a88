CREATE TABLE sweep (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL,             -- of the specs of all its points
    points TEXT NOT NULL,             -- JSON: number, id, values
    complete INTEGER NOT NULL,        -- whether all of them have been made
    created_at REAL NOT NULL
);
