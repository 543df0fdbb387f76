CREATE TABLE guests (id bigint PRIMARY KEY, wishes jsonb);
