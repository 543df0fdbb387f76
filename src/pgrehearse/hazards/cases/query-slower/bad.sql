-- needs: rehearsal
DROP INDEX orders_status_placed;
