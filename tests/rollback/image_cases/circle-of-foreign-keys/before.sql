CREATE TABLE left_half (id int PRIMARY KEY, other int);
CREATE TABLE right_half (id int PRIMARY KEY, other int REFERENCES left_half);
ALTER TABLE left_half ADD CONSTRAINT to_right FOREIGN KEY (other) REFERENCES right_half;
INSERT INTO left_half SELECT i, NULL FROM generate_series(1, 9) i;
INSERT INTO right_half SELECT i, i FROM generate_series(1, 9) i;
UPDATE left_half SET other = id;
