-- Runs that somebody wanted (0), those that were nobody's wish (1), and those of the latter of which
-- nothing came (2) are counted apart.
ALTER TABLE execution ADD COLUMN class BIGINT NOT NULL DEFAULT 0;
UPDATE execution SET class = 1 WHERE asked = 0;
