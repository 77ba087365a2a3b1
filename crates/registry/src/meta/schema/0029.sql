-- What people say of a repository, and how often it was pulled from.
ALTER TABLE repo ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE repo ADD COLUMN pulls BIGINT NOT NULL DEFAULT 0;
