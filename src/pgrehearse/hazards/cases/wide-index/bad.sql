CREATE INDEX CONCURRENTLY users_much ON users (nick, age, joined, points);
