-- Words that artifacts are marked with: of a project, or of the whole registry.
CREATE TABLE label (
    id {id},
    project_id BIGINT REFERENCES project (id) ON DELETE CASCADE,
    name {text} NOT NULL,
    description TEXT NOT NULL,
    color TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX label_of_project ON label (project_id, name) WHERE project_id IS NOT NULL;
CREATE UNIQUE INDEX label_of_all ON label (name) WHERE project_id IS NULL;
CREATE TABLE manifest_label (
    manifest_id BIGINT NOT NULL REFERENCES manifest (id) ON DELETE CASCADE,
    label_id BIGINT NOT NULL REFERENCES label (id) ON DELETE CASCADE,
    PRIMARY KEY (manifest_id, label_id)
);
CREATE INDEX manifest_label_by_label ON manifest_label (label_id);

-- When manifests were pulled last. Apart from them, for a manifest's row is large to write.
ALTER TABLE manifest DROP COLUMN pulled_ms;
CREATE TABLE pull (
    manifest_id BIGINT PRIMARY KEY REFERENCES manifest (id) ON DELETE CASCADE,
    pulled_ms BIGINT NOT NULL
);
