-- Manifests that were removed by their digests while tags pointed to them, for as long as a tag can be
-- brought back to them. Their projects are charged for them until then.
CREATE TABLE removed_manifest (
    repo_id BIGINT NOT NULL REFERENCES repo (id),
    digest {text} NOT NULL,
    media_type TEXT NOT NULL,
    size BIGINT NOT NULL,
    bytes {bytes} NOT NULL,
    data_key {text},
    until_ms BIGINT NOT NULL,
    PRIMARY KEY (repo_id, digest)
);
CREATE INDEX removed_manifest_by_time ON removed_manifest (until_ms);
