-- The application's schema in Postgres. Usable alone:
--   psql < migrations/002_postgres_schema.sql
-- for 1,536 dimensions; if the source has another number:
--   PGOPTIONS='-c sync.dimension=512' psql < migrations/002_postgres_schema.sql
-- `sync schema apply` sets the dimension itself. Idempotent.

CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE IF NOT EXISTS songs (
    id         uuid PRIMARY KEY,
    title      text,
    artist     text,
    album      text,
    genre      text,
    year       integer,
    duration   double precision,
    created_at timestamptz,
    updated_at timestamptz
);
-- Hash, not btree: text of any length fits (a btree entry holds 2.7 kB at most), and these are looked up by equality.
CREATE INDEX IF NOT EXISTS songs_title_idx ON songs USING hash (title);
CREATE INDEX IF NOT EXISTS songs_artist_idx ON songs USING hash (artist);
CREATE INDEX IF NOT EXISTS songs_genre_idx ON songs USING hash (genre);
CREATE INDEX IF NOT EXISTS songs_created_at_idx ON songs (created_at);

CREATE TABLE IF NOT EXISTS metadata (
    song_id uuid PRIMARY KEY,
    data    jsonb
);
CREATE INDEX IF NOT EXISTS metadata_data_idx ON metadata USING gin (data);

CREATE TABLE IF NOT EXISTS genres (
    name        text PRIMARY KEY,
    description text,
    song_count  integer
);

-- There are no foreign keys: Cassandra has none, so rows may arrive in any order and a song may be gone before its vector.
DO $$
DECLARE
    dimension int := coalesce(nullif(current_setting('sync.dimension', true), ''), '1536')::int;
BEGIN
    EXECUTE format('CREATE TABLE IF NOT EXISTS embeddings (
        song_id    uuid PRIMARY KEY,
        model      text,
        embedding  vector(%s),
        created_at timestamptz
    )', dimension);
    -- pgvector's HNSW indexes up to 2,000 dimensions of vector and up to 4,000 of halfvec.
    IF dimension <= 2000 THEN
        CREATE INDEX IF NOT EXISTS embeddings_embedding_idx ON embeddings USING hnsw (embedding vector_cosine_ops);
    ELSIF dimension <= 4000 THEN
        EXECUTE format('CREATE INDEX IF NOT EXISTS embeddings_embedding_idx ON embeddings
            USING hnsw ((embedding::halfvec(%s)) halfvec_cosine_ops)', dimension);
    ELSE
        RAISE NOTICE 'embeddings.embedding has % dimensions: pgvector indexes up to 4,000; searches will be exact', dimension;
    END IF;
END $$;
CREATE INDEX IF NOT EXISTS embeddings_model_idx ON embeddings USING hash (model);
