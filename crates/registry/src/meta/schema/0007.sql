-- Projects are charged for their manifests too, and for what uploads have brought while these last.
UPDATE quota SET used = used + (SELECT CAST(COALESCE(SUM(m.size), 0) AS BIGINT)
    FROM manifest m JOIN repo r ON r.id = m.repo_id WHERE r.project_id = quota.project_id);
DROP INDEX upload_by_project;
CREATE INDEX upload_by_project ON upload (project_id, received);
