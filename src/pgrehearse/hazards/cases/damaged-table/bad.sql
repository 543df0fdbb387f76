-- not run: only a damaged disk makes one
-- needs: rehearsal
SELECT count(*) FROM orders;
