-- switches: cut-overs and rollbacks, the newest first
SELECT kind, who, state, started_at, finished_at, reason,
       extract(epoch FROM finished_at - closed_at)::float8 AS closed_seconds
FROM sync.switch ORDER BY id DESC LIMIT 10

-- passes: the last recorded passes, the newest first
SELECT p.id, p.clean, p.repaired, p.started_at, p.finished_at, p.epoch, sums.tables, sums.rows
FROM (SELECT * FROM sync.drift_pass ORDER BY id DESC LIMIT %(limit)s) AS p,
     LATERAL (SELECT count(*) AS tables, coalesce(sum((of_table -> 'rows' ->> 'source')::bigint), 0)::bigint AS rows
              FROM jsonb_array_elements(p.report -> 'tables') AS of_table) AS sums
ORDER BY p.id DESC

-- rings: of each open run, the ring in parts: where a part begins and ends, how much of it is done, whether it is worked on, failed
SELECT kind, table_name, min(starts), max(ends), least(1, sum(done) / sum(ends - starts)), bool_or(state = 'running'),
       bool_or(state = 'failed')
FROM (
    SELECT run.id, run.kind, run.table_name, r.state, p.starts, p.ends,
           CASE WHEN r.state = 'done' THEN p.ends - p.starts
                WHEN r.done_to IS NULL THEN 0 ELSE greatest(0, r.done_to / 18446744073709551616.0::float8 + 0.5 - p.starts) END AS done
    FROM sync.run JOIN sync.range AS r ON r.run_id = run.id,
         LATERAL (SELECT r.range_start / 18446744073709551616.0::float8 + 0.5 AS starts,
                         r.range_end / 18446744073709551616.0::float8 + 0.5 AS ends) AS p
    WHERE run.state = 'open') AS part
GROUP BY id, kind, table_name, width_bucket(starts, 0, 1, %(segments)s)
ORDER BY id, min(starts)

-- one_pass: a recorded pass
SELECT id, runs, clean, repaired, started_at, finished_at, report, epoch FROM sync.drift_pass WHERE id = %(number)s
