-- a step that goes on from another: what it has of its own; NULL: the workflow's
ALTER TABLE step ADD COLUMN after TEXT;             -- key of the step that it goes on from
ALTER TABLE step ADD COLUMN parameters TEXT;        -- the engine's checked parameters, JSON
ALTER TABLE step ADD COLUMN resources TEXT;         -- JSON
ALTER TABLE step ADD COLUMN optional INTEGER NOT NULL DEFAULT 0;

ALTER TABLE job ADD COLUMN step TEXT;               -- the step's key, in a chain
ALTER TABLE job ADD COLUMN parent_id INTEGER;       -- the job of the same material that it goes on from
ALTER TABLE job ADD COLUMN deck TEXT;               -- the material's own input file
ALTER TABLE job ADD COLUMN final_deck TEXT;         -- the same at the final geometry
ALTER TABLE job ADD COLUMN checkpoint TEXT;         -- JSON: names of the files in job_dir that another can go on from
ALTER TABLE job ADD COLUMN handed TEXT;             -- JSON: what the parent left
ALTER TABLE job ADD COLUMN resume TEXT;             -- JSON: what its own last attempt left; counts more than `handed`
ALTER TABLE job ADD COLUMN parameters TEXT;         -- the engine's, as remedies have changed them; NULL: the step's
ALTER TABLE job ADD COLUMN remedies TEXT;           -- JSON: what was changed, when, and by which rule
CREATE INDEX job_parent ON job (parent_id) WHERE parent_id IS NOT NULL;

ALTER TABLE submission ADD COLUMN step_id INTEGER;  -- of all its jobs; NULL: the workflow's only step

ALTER TABLE attempt ADD COLUMN remedy TEXT;         -- JSON: the newest change that it ran with
ALTER TABLE attempt ADD COLUMN evidence TEXT;       -- JSON: the place in an output that its failure rests on
