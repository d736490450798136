"""The dispatcher process: a fair queue and a proxy in front of one pool's GPU servers.

Pure parts (no I/O, `now` passed in): `fairqueue`, `fairness`, `identity` (with `addresses`, `forwarded`, `weights`),
`dominance`, `routes`, `servers`, `window`. `scheduler` binds queue and servers. A task's way: `app` (who, which route),
`proxy` (its body), `scheduler` (its turn), `execute` (its attempts at servers, its end), `forward` (one request to one
server), `answer` (where the answer goes). What is no task takes `passing`. Other edges: `apikeys`, `spool`, `health`,
`watcher`, `admin`, `metrics`. It imports neither kopf nor the operator, and holds no cloud credentials.
"""
