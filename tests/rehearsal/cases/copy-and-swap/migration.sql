CREATE TABLE events_new (id bigint PRIMARY KEY, at timestamptz NOT NULL, payload jsonb);
INSERT INTO events_new SELECT * FROM events;
DROP TABLE events;
ALTER TABLE events_new RENAME TO events;
ALTER TABLE events RENAME CONSTRAINT events_new_pkey TO events_pkey;
