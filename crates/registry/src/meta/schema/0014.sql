-- When the retention of a project is done, where something else than every hour was said; with an
-- empty `cron` only when somebody asks for it.
CREATE TABLE retention (
    project_id BIGINT PRIMARY KEY REFERENCES project (id),
    cron TEXT NOT NULL,
    due_ms BIGINT
);
