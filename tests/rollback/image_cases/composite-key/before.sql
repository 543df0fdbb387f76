CREATE TABLE stock (shop text, item int, n int, PRIMARY KEY (item, shop));
INSERT INTO stock SELECT 's' || i % 5, i, i FROM generate_series(1, 100) i;
