-- fails: 23505
-- needs: rehearsal
CREATE UNIQUE INDEX CONCURRENTLY days_day ON days (day);
