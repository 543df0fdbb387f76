SELECT pg_catalog.setval('ticket'::pg_catalog.regclass, (SELECT max(id) FROM orders));
