-- Whether a manifest does without a blob that it waits for, as it does without foreign layers.
ALTER TABLE manifest_missing ADD COLUMN optional BIGINT NOT NULL DEFAULT 0;

-- What an index names may be a blob, which stays then as the layers of an image do.
INSERT INTO manifest_blob (manifest_id, link_id)
    SELECT c.manifest_id, l.id FROM manifest_child c
    JOIN blob b ON b.digest = c.digest
    JOIN repo_blob l ON l.blob_id = b.id AND l.repo_id = c.repo_id
    WHERE true ON CONFLICT DO NOTHING;
