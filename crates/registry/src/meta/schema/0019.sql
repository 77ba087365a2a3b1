-- A process of an earlier version, which does not know of removed manifests, may remove their repository.
CREATE TABLE removed (
    repo_id BIGINT NOT NULL REFERENCES repo (id) ON DELETE CASCADE,
    digest {text} NOT NULL,
    media_type TEXT NOT NULL,
    size BIGINT NOT NULL,
    bytes {bytes} NOT NULL,
    data_key {text},
    until_ms BIGINT NOT NULL,
    PRIMARY KEY (repo_id, digest)
);
INSERT INTO removed (repo_id, digest, media_type, size, bytes, data_key, until_ms)
    SELECT repo_id, digest, media_type, size, bytes, data_key, until_ms FROM removed_manifest;
DROP TABLE removed_manifest;
ALTER TABLE removed RENAME TO removed_manifest;
CREATE INDEX removed_manifest_by_time ON removed_manifest (until_ms);
