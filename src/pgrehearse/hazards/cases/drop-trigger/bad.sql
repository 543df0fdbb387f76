DROP TRIGGER users_touch ON users;
