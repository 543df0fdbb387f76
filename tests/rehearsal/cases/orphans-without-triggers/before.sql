CREATE TABLE parent (id bigint PRIMARY KEY);
CREATE TABLE child (id bigint PRIMARY KEY, parent_id bigint REFERENCES parent (id));
INSERT INTO parent SELECT n FROM generate_series(1, 5) AS n;
