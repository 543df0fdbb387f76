CREATE TABLE base (id int PRIMARY KEY, what text);
CREATE TABLE child (more text) INHERITS (base);
INSERT INTO base SELECT i, 'b' FROM generate_series(1, 20) i;
INSERT INTO child SELECT i, 'c', 'm' FROM generate_series(1, 20) i;
