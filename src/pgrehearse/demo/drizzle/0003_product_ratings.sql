ALTER TABLE "products" ADD COLUMN "rating" numeric(2, 1);
--> statement-breakpoint
ALTER TABLE "products" ADD COLUMN "rating_count" integer DEFAULT 0 NOT NULL;
--> statement-breakpoint
CREATE TABLE "product_ratings" (
	"product_id" bigint PRIMARY KEY,
	"stars" smallint[] NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL
);
