-- Which process has an audit record to bring to the log, and since when: another one does it only when
-- that one seems to be gone.
ALTER TABLE outbox ADD COLUMN process {text} NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN at_ms BIGINT NOT NULL DEFAULT 0;
