-- A star of a retention ends at a slash from now on; one that was all stays so.
UPDATE project_rule SET rule = REPLACE(rule, '"repositories":"*"', '"repositories":"**"')
    WHERE kind = 'retention';
