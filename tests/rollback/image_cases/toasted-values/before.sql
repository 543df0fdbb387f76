CREATE TABLE files (id int PRIMARY KEY, body text, raw bytea);
ALTER TABLE files ALTER COLUMN raw SET STORAGE EXTERNAL;
INSERT INTO files SELECT i, (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 3000) j), decode(repeat('00ff25', 40000), 'hex') FROM generate_series(1, 5) i;
