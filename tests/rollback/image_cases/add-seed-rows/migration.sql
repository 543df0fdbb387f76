INSERT INTO orders SELECT i, 'seed', i, 'seed' FROM generate_series(1000, 1100) i;
