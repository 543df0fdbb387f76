CREATE TABLE vehicles (id integer PRIMARY KEY, wheels integer);
CREATE TABLE trucks () INHERITS (vehicles);
