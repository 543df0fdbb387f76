CREATE OR REPLACE VIEW adults AS SELECT id, nick, age, email FROM users;
