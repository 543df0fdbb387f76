ALTER TABLE users ADD COLUMN age_new text;
