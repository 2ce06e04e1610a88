PRAGMA page_size = 8192;
PRAGMA application_id = 1346719315;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE workflow (
    id TEXT PRIMARY KEY,
    directory TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    snapshot TEXT,                    -- the last known WorkflowInfo, JSON
    created_at REAL NOT NULL
);
INSERT INTO "workflow" VALUES('g2','/home/me/campaign/.penstock/g2','running','{"type":"WorkflowInfo","id":"g2","recipe":"campaign","state":"running","directory":"/home/me/campaign/.penstock/g2","mode":"isolated","cluster":"local","engine":"tblite","slots":4,"priority":0,"jobs":162,"statuses":{"completed":160,"failed":2},"states":{"completed":160,"failed":2},"rejected":1,"ingesting":false,"reason":null,"created_at":1800000000.0,"updated_at":1800000000.0}',1800000000.0);
INSERT INTO "workflow" VALUES('old','/home/me/campaign/.penstock/old','completed','{"type":"WorkflowInfo","id":"old","recipe":"campaign","state":"completed","directory":"/home/me/campaign/.penstock/old","mode":"isolated","cluster":"local","engine":"tblite","slots":4,"priority":0,"jobs":162,"statuses":{"completed":160,"failed":2},"states":{"completed":160,"failed":2},"rejected":1,"ingesting":false,"reason":null,"created_at":1800000000.0,"updated_at":1800000000.0}',1800000000.0);
INSERT INTO "workflow" VALUES('half','/home/me/campaign/.penstock/half','creating',NULL,1800000000.0);
COMMIT;
