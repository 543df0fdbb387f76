CREATE TABLE events (id integer PRIMARY KEY, at timestamptz NOT NULL, payload jsonb);
INSERT INTO events SELECT n, timestamptz '2026-01-01 00:00+00' + n * interval '1 minute', jsonb_build_object('n', n)
  FROM generate_series(1, 800) AS n;
