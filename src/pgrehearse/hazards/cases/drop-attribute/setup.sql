CREATE TYPE size AS (width integer, height integer);
CREATE TABLE boxes (id bigint CONSTRAINT boxes_pkey PRIMARY KEY, outside size);
INSERT INTO boxes VALUES (1, ROW(2, 3));
