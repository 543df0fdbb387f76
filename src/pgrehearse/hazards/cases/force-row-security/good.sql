CREATE POLICY everybody ON users USING (true);
