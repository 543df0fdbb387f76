ALTER TABLE users DROP CONSTRAINT nick_has_letters;
