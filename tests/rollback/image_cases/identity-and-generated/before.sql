CREATE TABLE bills (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, net numeric NOT NULL,
    gross numeric GENERATED ALWAYS AS (net * 1.2) STORED, no serial);
INSERT INTO bills (net) SELECT i FROM generate_series(1, 50) i;
CREATE TABLE codes (id int PRIMARY KEY, a text, b text GENERATED ALWAYS AS (a || '!') STORED UNIQUE);
INSERT INTO codes SELECT i, 'a' || i FROM generate_series(1, 20) i;
