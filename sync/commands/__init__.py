"""One module a command: gather what it needs, run one flow, print.

backfill          `sync backfill`
context           what every command begins with
continuous        `sync drift-report --continuous`
continuous_pass   one pass of these, as a process
cutover           `sync cutover`, and what it shares with `sync rollback`
dashboard         `sync dashboard`
demo              `sync demo`
demo_collections  `sync demo --source collections`
drift_report      `sync drift-report`
drift_text        a drift report as tables and CSV
finish            `sync finish`
follow            `sync follow keys|forget`
intents           `sync intents`
local             `sync local up|down|status|env`
migrate           `sync migrate`
preflight         `sync preflight`
rejects           `sync rejects`
rollback          `sync rollback`
schema            `sync schema apply`
status            `sync status`
worker            `sync worker`
writers           `sync writers`
"""
