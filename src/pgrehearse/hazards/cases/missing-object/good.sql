ALTER TABLE IF EXISTS customers ADD COLUMN city text;
