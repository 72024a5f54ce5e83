-- by_key: whether the row is found by its key
SELECT true FROM {target} AS t WHERE {same_key}

-- by_content: whether a search for a map's content, which a GIN index can answer, finds the row; {content} is its parameter
SELECT t.{column} = {content} FROM {target} AS t WHERE t.{column} @> {content} AND {same_key}
