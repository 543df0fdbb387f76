DELETE FROM "Order ""Lines"" 100%s" WHERE "Id" % 3 = 0;
UPDATE "Order ""Lines"" 100%s" SET "a%b" = 'x', "time" = NULL WHERE "Id" < 10;
ALTER TABLE "Order ""Lines"" 100%s" DROP COLUMN "ünïcødé";
UPDATE "äääääääääääääääääääääääääääääää1" SET b = 'c';
DELETE FROM "select" WHERE "from" > 10;
UPDATE "keyless 50%" SET "%s" = 'y' WHERE "per%cent" = 1;
