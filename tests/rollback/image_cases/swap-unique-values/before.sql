CREATE TABLE seats (id int PRIMARY KEY, place int UNIQUE);
INSERT INTO seats SELECT i, i FROM generate_series(1, 20) i;
CREATE TABLE later (id int PRIMARY KEY, place int UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO later SELECT i, i FROM generate_series(1, 20) i;
CREATE TABLE rooms (id int PRIMARY KEY, during int4range, EXCLUDE USING gist (during WITH &&));
INSERT INTO rooms SELECT i, int4range(i, i + 1) FROM generate_series(1, 20) i;
