DELETE FROM "Order ""Lines""" WHERE "Größe" <= 7;
UPDATE "Order ""Lines""" SET v = 'changed' WHERE "Größe" BETWEEN 10 AND 12;
