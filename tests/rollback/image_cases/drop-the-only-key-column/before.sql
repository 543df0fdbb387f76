CREATE TABLE pages (id int PRIMARY KEY, slug text, body text);
INSERT INTO pages SELECT i, 'p' || i, 'b' FROM generate_series(1, 60) i;
