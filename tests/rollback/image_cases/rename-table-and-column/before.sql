CREATE TABLE orders (id bigint PRIMARY KEY, customer text, price numeric(10, 2), note text);
INSERT INTO orders SELECT i, 'c' || i % 7, i * 1.5, CASE WHEN i % 3 = 0 THEN 'note ' || i END FROM generate_series(1, 200) i;
