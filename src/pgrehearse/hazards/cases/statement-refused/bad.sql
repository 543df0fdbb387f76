-- needs: catalog
-- fails: 0A000
ALTER TABLE events ADD PRIMARY KEY (id);
