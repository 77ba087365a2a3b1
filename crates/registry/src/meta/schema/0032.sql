-- What is forgotten of where tags pointed has its age for it: numbers do not grow with time where a
-- clock was ahead for a moment.
CREATE INDEX tag_history_by_time ON tag_history (at_ms);
-- When it was found out when retention is due.
ALTER TABLE retention ADD COLUMN set_ms BIGINT NOT NULL DEFAULT 0;
