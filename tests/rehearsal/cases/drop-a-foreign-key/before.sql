CREATE TABLE parent (id bigint PRIMARY KEY);
CREATE TABLE child (id bigint PRIMARY KEY, parent_id bigint NOT NULL REFERENCES parent (id));
INSERT INTO parent SELECT n FROM generate_series(1, 20) AS n;
INSERT INTO child SELECT n, n FROM generate_series(1, 20) AS n;
