CREATE TABLE invoices (id bigint PRIMARY KEY, price double precision);
