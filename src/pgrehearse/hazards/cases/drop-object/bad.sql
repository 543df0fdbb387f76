DROP STATISTICS payments_both;
