CREATE PUBLICATION shop FOR TABLE users;
ALTER PUBLICATION shop SET (publish = 'insert, update, delete, truncate');
