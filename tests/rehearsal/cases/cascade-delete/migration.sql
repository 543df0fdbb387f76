DELETE FROM parent WHERE id = 3;
