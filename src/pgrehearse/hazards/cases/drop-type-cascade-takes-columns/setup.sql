CREATE TYPE "Mood" AS ENUM ('happy', 'sad');
CREATE TABLE days (id integer, mood "Mood");
INSERT INTO days VALUES (1, 'happy');
