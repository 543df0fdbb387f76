DROP TABLE days;
CREATE TABLE days (day date NOT NULL, visits integer, city text);
