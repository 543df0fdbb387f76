-- needs: rehearsal
REFRESH MATERIALIZED VIEW totals WITH NO DATA;
