-- note: a read that the application makes, by its shape; when it was made last, to the hour
INSERT INTO sync.read_shape (table_name, shape) VALUES (%(table)s, %(shape)s)
ON CONFLICT (table_name, shape) DO UPDATE SET last_seen = clock_timestamp()

-- forget: reads that were not made for a week, and all but the last ones
DELETE FROM sync.read_shape WHERE last_seen < clock_timestamp() - interval '7 days' OR (table_name, shape) IN (
    SELECT table_name, shape FROM sync.read_shape ORDER BY last_seen DESC OFFSET %(most)s)

-- made: reads of the last week
SELECT table_name, shape FROM sync.read_shape WHERE last_seen > clock_timestamp() - interval '7 days' ORDER BY table_name, shape
