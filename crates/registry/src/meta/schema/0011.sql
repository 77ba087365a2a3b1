-- When bytes in the store were found not to be what the digest says. Who pushes them again is told
-- that they are not there, and what comes takes their place.
ALTER TABLE blob ADD COLUMN damaged_ms BIGINT;
ALTER TABLE manifest ADD COLUMN damaged_ms BIGINT;
