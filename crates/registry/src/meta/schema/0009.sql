-- The audit trail as it can be asked for, from the transaction of what it tells until it is too long
-- ago or there are too many. The number of the project is that of the one which had its name then.
CREATE TABLE audit (
    id {id},
    at_ms BIGINT NOT NULL,
    project_id BIGINT,
    actor {text} NOT NULL,
    event {text} NOT NULL,
    operation {text} NOT NULL,
    done BIGINT NOT NULL,
    resource_type {text} NOT NULL,
    resource {text} NOT NULL,
    line TEXT NOT NULL
);
CREATE INDEX audit_by_time ON audit (at_ms);
CREATE INDEX audit_by_project ON audit (project_id, id);
