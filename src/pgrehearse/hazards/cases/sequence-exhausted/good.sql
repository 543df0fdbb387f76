SELECT setval('ticket', 1000);
