-- What was said while the registry ran, and holds for all processes that serve it.
CREATE TABLE setting (
    name {text} PRIMARY KEY,
    value TEXT NOT NULL,
    updated_ms BIGINT NOT NULL
);
