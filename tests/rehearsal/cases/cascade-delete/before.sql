CREATE TABLE parent (id bigint PRIMARY KEY);
CREATE TABLE child (id bigint PRIMARY KEY, parent_id bigint REFERENCES parent (id) ON DELETE CASCADE);
INSERT INTO parent SELECT n FROM generate_series(1, 20) AS n;
INSERT INTO child SELECT n, 1 + n % 20 FROM generate_series(1, 100) AS n;
