CREATE TABLE visits (id int PRIMARY KEY, at timestamptz);
INSERT INTO visits SELECT i, timestamptz '2026-01-01 22:30:15.123456+00' + i * interval '7 hours' FROM generate_series(1, 50) i;
