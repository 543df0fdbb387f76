-- needs: rehearsal
UPDATE pg_catalog.pg_collation SET collversion = '0' WHERE collname = 'en-x-icu';
