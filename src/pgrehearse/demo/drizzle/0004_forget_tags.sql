ALTER TABLE "products" DROP COLUMN "tags";
--> statement-breakpoint
DELETE FROM "cart_items" WHERE "quantity" > 3;
