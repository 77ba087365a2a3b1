-- Whether a manifest waits that was pushed by its digest and that no tag and no index has had yet.
ALTER TABLE gc_queue ADD COLUMN never_tagged BIGINT NOT NULL DEFAULT 0;
