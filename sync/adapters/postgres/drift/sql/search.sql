-- by_key: whether the row is found by its key
SELECT true FROM {target} AS t WHERE {same_key}

-- by_content: whether a search for a map's content, which a GIN index can answer, finds the row; {content} is its parameter
SELECT t.{column} = {content} FROM {target} AS t WHERE t.{column} @> {content} AND {same_key}

-- widely: HNSW indexes go on until so many rows are found; iterative scans are new in pgvector 0.8
SELECT set_config('hnsw.ef_search',
                  least(1000, greatest(coalesce(current_setting('hnsw.ef_search', true), '40')::int, %(limit)s))::text, true),
       CASE WHEN string_to_array(extversion, '.')::int[] >= '{0,8}'
            THEN set_config('hnsw.iterative_scan', 'strict_order', true) END
FROM pg_extension WHERE extname = 'vector'
