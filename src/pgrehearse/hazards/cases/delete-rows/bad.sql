DELETE FROM days WHERE visits < 2;
