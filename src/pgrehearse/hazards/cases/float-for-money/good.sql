CREATE TABLE invoices (id bigint PRIMARY KEY, price numeric(19, 4));
