UPDATE base SET what = 'x' WHERE id < 10;
DELETE FROM ONLY base WHERE id = 20;
