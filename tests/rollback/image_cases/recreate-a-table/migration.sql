DROP TABLE orders;
CREATE TABLE orders (id bigint PRIMARY KEY, customer text, price numeric(10, 2), note text);
INSERT INTO orders VALUES (1, 'new', 1, 'new'), (7000, 'new', 1, 'new');
