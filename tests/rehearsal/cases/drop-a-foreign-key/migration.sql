ALTER TABLE child DROP CONSTRAINT child_parent_id_fkey;
ALTER TABLE child ALTER COLUMN parent_id DROP NOT NULL;
