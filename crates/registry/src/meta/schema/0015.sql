-- Who continues an upload: a request's own name, until it ends. Nobody else's bytes count meanwhile.
ALTER TABLE upload ADD COLUMN turn TEXT NOT NULL DEFAULT '';
