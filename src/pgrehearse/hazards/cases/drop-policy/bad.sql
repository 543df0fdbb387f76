DROP POLICY own_rows ON days;
