ALTER TABLE users ADD CONSTRAINT nick_is_short CHECK (length(nick) < 20) NOT VALID;
