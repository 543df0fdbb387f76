ALTER TABLE users RENAME TO "People";
