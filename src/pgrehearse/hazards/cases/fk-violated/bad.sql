-- needs: catalog
-- fails: 23503
ALTER TABLE days ADD CONSTRAINT days_visits_fkey FOREIGN KEY (visits) REFERENCES orders (id);
