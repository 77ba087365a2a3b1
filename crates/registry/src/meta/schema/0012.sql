-- What lists of the audit trail are filtered and sorted by, and what of it was refused.
CREATE INDEX audit_by_actor ON audit (actor, id);
CREATE INDEX audit_by_operation ON audit (operation, id);
CREATE INDEX audit_by_resource ON audit (resource, id);
CREATE INDEX audit_refused ON audit (id) WHERE done = 0;
