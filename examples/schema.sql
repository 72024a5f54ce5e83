-- The same tables in Postgres, with the indexes that the examples' queries need; `sync schema apply` runs this file.
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE IF NOT EXISTS songs (id uuid PRIMARY KEY, title text, artist text, genre text, mood vector(4));
CREATE INDEX IF NOT EXISTS songs_by_genre ON songs (genre);
CREATE INDEX IF NOT EXISTS songs_by_mood ON songs USING hnsw (mood vector_cosine_ops);
CREATE TABLE IF NOT EXISTS playlist (owner text COLLATE "C", at timestamptz, song uuid, PRIMARY KEY (owner, at, song));
