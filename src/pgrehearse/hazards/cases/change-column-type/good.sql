ALTER TABLE users ADD COLUMN age_new numeric(5, 1);
