-- Passwords of other registries, sealed; `password` is empty from now on.
ALTER TABLE upstream ADD COLUMN sealed TEXT NOT NULL DEFAULT '';

-- Bytes that the manifest says the blob has; not known of what came before.
ALTER TABLE manifest_missing ADD COLUMN size BIGINT;

-- Blobs that a repository had and lost a while ago. Who pushes a manifest that needs one may have
-- been told that it is there, so it is told to push the blob again: also if the repository itself
-- went meanwhile, hence its name.
CREATE TABLE lost_blob (
    repo {text} NOT NULL,
    digest {text} NOT NULL,
    lost_ms BIGINT NOT NULL,
    PRIMARY KEY (repo, digest)
);
CREATE INDEX lost_blob_by_time ON lost_blob (lost_ms);

-- What clusters have said that they run.
CREATE TABLE running (
    cluster {text} NOT NULL,
    digest {text} NOT NULL,
    seen_ms BIGINT NOT NULL,
    PRIMARY KEY (cluster, digest)
);
CREATE INDEX running_by_digest ON running (digest);
