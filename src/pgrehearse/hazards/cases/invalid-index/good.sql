CREATE UNIQUE INDEX CONCURRENTLY days_day ON days (day, visits);
