ALTER TABLE users ADD COLUMN email_new integer;
