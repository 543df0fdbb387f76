UPDATE files SET body = 'gone' WHERE id < 3;
DELETE FROM files WHERE id = 3;
ALTER TABLE files DROP COLUMN raw;
