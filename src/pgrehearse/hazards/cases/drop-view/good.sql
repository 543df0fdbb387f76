CREATE OR REPLACE VIEW adults AS SELECT id, nick, age FROM users WHERE age >= 21;
