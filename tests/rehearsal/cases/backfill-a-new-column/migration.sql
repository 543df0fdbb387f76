ALTER TABLE t ADD COLUMN full_name text;
UPDATE t SET full_name = first || ' ' || last;
