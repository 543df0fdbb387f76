CREATE TABLE bookings (room box, during tsrange);
INSERT INTO bookings VALUES (box(point(0, 0), point(1, 1)), tsrange(now()::timestamp, NULL));
