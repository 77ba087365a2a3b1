-- The account that made a project; none if that is not known.
ALTER TABLE project ADD COLUMN owner_id BIGINT;
