UPDATE left_half SET other = NULL;
DELETE FROM right_half;
DELETE FROM left_half;
