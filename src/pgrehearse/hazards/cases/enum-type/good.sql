CREATE TABLE colours (name text PRIMARY KEY);
