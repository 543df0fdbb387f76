-- needs: catalog
-- fails: 23505
CREATE UNIQUE INDEX days_day ON days (day);
