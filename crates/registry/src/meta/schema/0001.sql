CREATE TABLE project (
    id {id},
    name {text} NOT NULL UNIQUE,
    public BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);
-- Bytes that a project's repositories link to; a blob that several of them link to counts once.
CREATE TABLE quota (
    project_id BIGINT PRIMARY KEY REFERENCES project (id),
    hard BIGINT NOT NULL,
    used BIGINT NOT NULL
);
CREATE TABLE account (
    id {id},
    name {text} NOT NULL UNIQUE,
    password TEXT NOT NULL,
    admin BIGINT NOT NULL,
    disabled BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE TABLE member (
    project_id BIGINT NOT NULL REFERENCES project (id),
    account_id BIGINT NOT NULL REFERENCES account (id),
    role TEXT NOT NULL,
    PRIMARY KEY (project_id, account_id)
);
-- Immutable tags and retention, each a rule in JSON.
CREATE TABLE project_rule (
    id {id},
    project_id BIGINT NOT NULL REFERENCES project (id),
    kind {text} NOT NULL,
    rule TEXT NOT NULL
);
CREATE INDEX project_rule_by_project ON project_rule (project_id, kind);
CREATE TABLE robot (
    id {id},
    project_id BIGINT REFERENCES project (id),
    name {text} NOT NULL UNIQUE,
    secret TEXT NOT NULL,
    permissions TEXT NOT NULL,
    disabled BIGINT NOT NULL,
    expires_ms BIGINT,
    created_ms BIGINT NOT NULL
);
CREATE TABLE signing_key (
    kid {text} PRIMARY KEY,
    pkcs8 {bytes} NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE repo (
    id {id},
    project_id BIGINT NOT NULL REFERENCES project (id),
    name {text} NOT NULL UNIQUE,
    created_ms BIGINT NOT NULL
);
CREATE INDEX repo_by_project ON repo (project_id, name);

-- The key of a blob's bytes was never used before and will not be again.
CREATE TABLE blob (
    id {id},
    digest {text} NOT NULL UNIQUE,
    size BIGINT NOT NULL,
    data_key {text} NOT NULL UNIQUE,
    created_ms BIGINT NOT NULL
);
CREATE TABLE repo_blob (
    id {id},
    repo_id BIGINT NOT NULL REFERENCES repo (id),
    blob_id BIGINT NOT NULL REFERENCES blob (id),
    project_id BIGINT NOT NULL REFERENCES project (id),
    linked_ms BIGINT NOT NULL,
    UNIQUE (repo_id, blob_id)
);
CREATE INDEX repo_blob_by_blob ON repo_blob (blob_id);
CREATE INDEX repo_blob_by_project ON repo_blob (project_id, blob_id);

CREATE TABLE manifest (
    id {id},
    repo_id BIGINT NOT NULL REFERENCES repo (id),
    digest {text} NOT NULL,
    media_type TEXT NOT NULL,
    artifact_type {text},
    subject {text},
    annotations TEXT,
    size BIGINT NOT NULL,
    bytes {bytes} NOT NULL,
    pushed_ms BIGINT NOT NULL,
    pulled_ms BIGINT,
    UNIQUE (repo_id, digest)
);
CREATE INDEX manifest_by_subject ON manifest (repo_id, subject, digest);
-- A manifest's blob is one of its repository: neither can go before the other does.
CREATE TABLE manifest_blob (
    manifest_id BIGINT NOT NULL REFERENCES manifest (id),
    link_id BIGINT NOT NULL REFERENCES repo_blob (id),
    PRIMARY KEY (manifest_id, link_id)
);
CREATE INDEX manifest_blob_by_link ON manifest_blob (link_id);
-- Manifests that an index names; they may be missing.
CREATE TABLE manifest_child (
    manifest_id BIGINT NOT NULL REFERENCES manifest (id),
    repo_id BIGINT NOT NULL,
    digest {text} NOT NULL,
    PRIMARY KEY (manifest_id, digest)
);
CREATE INDEX manifest_child_by_digest ON manifest_child (repo_id, digest);

CREATE TABLE tag (
    repo_id BIGINT NOT NULL REFERENCES repo (id),
    name {text} NOT NULL,
    manifest_id BIGINT NOT NULL REFERENCES manifest (id),
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (repo_id, name)
);
CREATE INDEX tag_by_manifest ON tag (manifest_id);
CREATE TABLE tag_history (
    id {id},
    repo_id BIGINT NOT NULL REFERENCES repo (id),
    name {text} NOT NULL,
    digest TEXT,
    old_digest TEXT,
    actor TEXT NOT NULL,
    at_ms BIGINT NOT NULL
);
CREATE INDEX tag_history_by_tag ON tag_history (repo_id, name, id);

CREATE TABLE upload (
    uuid {text} PRIMARY KEY,
    project_id BIGINT NOT NULL REFERENCES project (id),
    repo {text} NOT NULL,
    actor TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    data_key {text} NOT NULL,
    received BIGINT NOT NULL,
    hash_state {bytes} NOT NULL,
    written TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL
);
CREATE INDEX upload_by_project ON upload (project_id);
CREATE INDEX upload_by_age ON upload (seen_ms);

-- What may have lost its last reference and is looked at again when its grace is over.
CREATE TABLE gc_queue (
    kind {text} NOT NULL,
    subject_id BIGINT NOT NULL,
    not_before_ms BIGINT NOT NULL,
    PRIMARY KEY (kind, subject_id)
);
CREATE INDEX gc_queue_by_time ON gc_queue (not_before_ms);
-- Bytes that no row names any more. `written` is there for an upload that was given up.
CREATE TABLE dead_data (
    data_key {text} PRIMARY KEY,
    written TEXT,
    size BIGINT NOT NULL,
    not_before_ms BIGINT NOT NULL
);
CREATE INDEX dead_data_by_time ON dead_data (not_before_ms);

-- Audit records, from the transaction of what they tell until a log has them.
CREATE TABLE outbox (
    id {id},
    line TEXT NOT NULL
);
