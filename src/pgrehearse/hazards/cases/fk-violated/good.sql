ALTER TABLE days ADD CONSTRAINT days_visits_fkey FOREIGN KEY (visits) REFERENCES orders (id) NOT VALID;
