-- Runs of garbage collection (of project 0) and of the retention of projects that are over.
CREATE TABLE execution (
    id {id},
    kind {text} NOT NULL,
    project_id BIGINT NOT NULL,
    asked BIGINT NOT NULL,
    dry_run BIGINT NOT NULL,
    began_ms BIGINT NOT NULL,
    ended_ms BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    line TEXT NOT NULL,
    tasks TEXT NOT NULL
);
CREATE INDEX execution_by_project ON execution (kind, project_id, id);

-- When they were changed last, if they were.
ALTER TABLE project ADD COLUMN updated_ms BIGINT;
ALTER TABLE account ADD COLUMN updated_ms BIGINT;
ALTER TABLE robot ADD COLUMN updated_ms BIGINT;
