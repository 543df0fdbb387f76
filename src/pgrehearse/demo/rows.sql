-- About 215,000 rows, the same ones each time.
INSERT INTO users (email, name, locale, preferences, created_at)
SELECT 'user' || n || '@example.com', 'User ' || n, (ARRAY['en', 'de', 'fr', 'es'])[1 + n % 4],
       jsonb_build_object('newsletter', n % 3 = 0, 'theme', CASE WHEN n % 2 = 0 THEN 'dark' ELSE 'light' END),
       timestamptz '2025-01-01 00:00+00' + n * interval '11 minutes'
  FROM generate_series(1, 20000) AS n;

INSERT INTO addresses (user_id, street, city, "Postal Code")
SELECT 1 + n % 20000, n || ' Market Street', (ARRAY['Bern', 'Köln', 'Lyon', 'Vigo'])[1 + n % 4], lpad((n % 99999)::text, 5, '0')
  FROM generate_series(1, 22000) AS n;

INSERT INTO categories (id, parent_id, slug)
SELECT n, nullif(n / 8, 0), 'category-' || n FROM generate_series(1, 64) AS n;

INSERT INTO products (category_id, sku, title, price, attributes, tags)
SELECT 1 + n % 64, 'SKU-' || lpad(n::text, 6, '0'), 'Product ' || n, (n % 5000) / 7.0,
       CASE WHEN n % 5 > 0 THEN jsonb_build_object('weight_g', n % 900, 'colours', jsonb_build_array('red', 'blue')) END,
       CASE WHEN n % 3 > 0 THEN ARRAY['tag' || n % 10, 'new'] END
  FROM generate_series(1, 6000) AS n;

INSERT INTO product_images (product_id, url)
SELECT 1 + n % 6000, 'https://images.example.com/' || n || '.webp' FROM generate_series(1, 12000) AS n;

INSERT INTO carts (id, user_id, updated_at)
SELECT md5('cart' || n)::uuid, CASE WHEN n % 4 > 0 THEN 1 + n % 20000 END, timestamp '2026-01-01' + n * interval '1 minute'
  FROM generate_series(1, 6000) AS n;

INSERT INTO cart_items (cart_id, product_id, quantity)
SELECT md5('cart' || 1 + n % 6000)::uuid, 1 + (n * 7 + n / 6000) % 6000, 1 + n % 4
  FROM generate_series(1, 14000) AS n ON CONFLICT DO NOTHING;

INSERT INTO orders (user_id, address_id, status, total, placed_at)
SELECT 1 + (n * 13) % 20000, CASE WHEN n % 9 > 0 THEN 1 + n % 22000 END,
       (enum_range(NULL::order_status))[1 + n % 5], (n % 40000) / 3.0,
       timestamptz '2025-01-01 00:00+00' + n * interval '17 minutes'
  FROM generate_series(1, 30000) AS n;

INSERT INTO order_items (order_id, product_id, quantity, unit_price)
SELECT 1 + n % 30000, 1 + (n * 31) % 6000, 1 + n % 3, (n % 5000) / 7.0
  FROM generate_series(1, 60000) AS n;

INSERT INTO reviews (product_id, user_id, stars, body)
SELECT 1 + (n * 3) % 6000, 1 + (n * 5) % 20000, 1 + n % 5, CASE WHEN n % 4 > 0 THEN repeat('good ', n % 9) END
  FROM generate_series(1, 14000) AS n;

INSERT INTO "Order Notes" ("order", "Größe", "note ""quoted""")
SELECT 1 + n % 30000, CASE WHEN n % 2 = 0 THEN 'groß' END, 'note ' || n % 700 FROM generate_series(1, 3000) AS n;

INSERT INTO page_views (seen_at, path, user_id)
SELECT timestamptz '2025-01-01 00:00+00' + n * interval '25 minutes', '/products/' || n % 6000, nullif(n % 20001, 0)
  FROM generate_series(1, 36000) AS n;

ANALYZE;
