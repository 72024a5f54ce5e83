-- by_key: whether the row is there when asked for by its key
SELECT true FROM {target} AS t WHERE {same_key}

-- by_content: whether asking for a map's content, as a GIN index answers, finds the row; {content} is its parameter
SELECT t.{column} = {content} FROM {target} AS t WHERE t.{column} @> {content} AND {same_key}
