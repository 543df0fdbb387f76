CREATE TABLE "Order ""Lines""" ("Größe" bigint PRIMARY KEY, v text);
INSERT INTO "Order ""Lines""" SELECT n, 'v' || n FROM generate_series(1, 300) AS n;
