-- needs: rehearsal
DROP INDEX CONCURRENTLY users_age;
