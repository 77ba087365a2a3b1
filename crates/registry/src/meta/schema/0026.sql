-- Manifests of earlier versions may name foreign layers that were pushed and are not tied to them, which
-- only the manifests say: they are read once.
INSERT INTO setting (name, value, updated_ms)
    SELECT 'loose_foreign_layers', '', 0 WHERE EXISTS (SELECT 1 FROM manifest);
