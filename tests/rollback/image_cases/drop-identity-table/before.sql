CREATE TABLE bills (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, net numeric NOT NULL,
    gross numeric GENERATED ALWAYS AS (net * 1.2) STORED);
INSERT INTO bills (net) SELECT i FROM generate_series(1, 50) i;
