CREATE TABLE guests (id bigserial PRIMARY KEY);
