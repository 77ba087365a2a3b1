-- An upload may be to a project that is not there yet, which is made once something of it is kept.
CREATE TABLE upload_to_any (
    uuid {text} PRIMARY KEY,
    project_id BIGINT REFERENCES project (id),
    -- The name of that project, and how many bytes it will be allowed to have.
    awaited {text},
    hard BIGINT,
    repo {text} NOT NULL,
    actor TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    data_key {text} NOT NULL,
    received BIGINT NOT NULL,
    hash_state {bytes} NOT NULL,
    written TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL,
    turn TEXT NOT NULL DEFAULT ''
);
INSERT INTO upload_to_any (uuid, project_id, repo, actor, algorithm, data_key, received, hash_state,
    written, created_ms, seen_ms, turn)
    SELECT uuid, project_id, repo, actor, algorithm, data_key, received, hash_state,
    written, created_ms, seen_ms, turn FROM upload;
DROP TABLE upload;
ALTER TABLE upload_to_any RENAME TO upload;
CREATE INDEX upload_by_project ON upload (project_id, received);
CREATE INDEX upload_by_awaited ON upload (awaited) WHERE awaited IS NOT NULL;
CREATE INDEX upload_by_age ON upload (seen_ms);
