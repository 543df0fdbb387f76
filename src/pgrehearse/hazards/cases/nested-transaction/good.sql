-- tool: drizzle
ALTER TABLE users ADD COLUMN comment text;
