CREATE TABLE "page_views" (
	"id" bigint GENERATED ALWAYS AS IDENTITY,
	"seen_at" timestamp with time zone NOT NULL,
	"path" text NOT NULL,
	"user_id" bigint,
	PRIMARY KEY ("id", "seen_at")
) PARTITION BY RANGE ("seen_at");
--> statement-breakpoint
CREATE TABLE "page_views_2025" PARTITION OF "page_views" FOR VALUES FROM ('2025-01-01 00:00+00') TO ('2026-01-01 00:00+00');
--> statement-breakpoint
CREATE TABLE "page_views_2026" PARTITION OF "page_views" FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2027-01-01 00:00+00');
--> statement-breakpoint
CREATE INDEX "orders_user_id_index" ON "orders" ("user_id");
--> statement-breakpoint
CREATE INDEX "order_items_product_id_index" ON "order_items" ("product_id");
