ALTER TABLE "Order ""Lines"" 100%s" ADD COLUMN "ünïcødé" text;
