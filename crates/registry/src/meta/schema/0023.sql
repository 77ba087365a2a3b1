-- When a repository was pushed to last, without a look at the rows of its manifests, which are large.
CREATE INDEX manifest_by_push ON manifest (repo_id, pushed_ms);
