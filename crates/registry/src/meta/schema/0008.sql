-- Where the bytes of a large manifest are in the store; its `bytes` are empty then. Nothing of one that
-- is small, or was there before. The key was never used before and will not be again.
ALTER TABLE manifest ADD COLUMN data_key {text};
CREATE UNIQUE INDEX manifest_by_data_key ON manifest (data_key) WHERE data_key IS NOT NULL;
