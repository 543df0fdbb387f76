CREATE TYPE pair AS (a int, b text);
ALTER TYPE feeling RENAME TO mood;
ALTER TABLE things ADD COLUMN p pair, ADD COLUMN ps pair[];
ALTER TABLE moved ADD COLUMN p pair, ADD COLUMN ps pair[];
CREATE TABLE cleared (LIKE things INCLUDING ALL);
