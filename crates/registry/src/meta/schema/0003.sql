-- Other registries, and how to log in there.
CREATE TABLE upstream (
    id {id},
    name {text} NOT NULL UNIQUE,
    description TEXT NOT NULL,
    url TEXT NOT NULL,
    -- What names of images begin with that are from there, as clients say it with `?ns=`.
    namespace {text} NOT NULL,
    username TEXT NOT NULL,
    password TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);
-- A project that has one is a cache of it.
ALTER TABLE project ADD COLUMN upstream_id BIGINT REFERENCES upstream (id);
CREATE INDEX project_by_upstream ON project (upstream_id);

-- Blobs that a manifest names and its repository does not have: edges once they come.
CREATE TABLE manifest_missing (
    manifest_id BIGINT NOT NULL REFERENCES manifest (id) ON DELETE CASCADE,
    repo_id BIGINT NOT NULL,
    digest {text} NOT NULL,
    PRIMARY KEY (manifest_id, digest)
);
CREATE INDEX manifest_missing_by_digest ON manifest_missing (repo_id, digest);
