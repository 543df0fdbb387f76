-- needs: rehearsal
SELECT setval('ticket', 9223372036854775807);
