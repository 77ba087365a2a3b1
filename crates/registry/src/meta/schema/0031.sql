-- Whether a manifest is about another one, its tags may say: their names are read with it.
DROP INDEX tag_by_manifest;
CREATE INDEX tag_by_manifest ON tag (manifest_id, name);
