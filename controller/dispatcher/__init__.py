"""The dispatcher process: a fair queue and a proxy in front of one pool's GPU servers.

Pure parts (no I/O, `now` passed in): `fairqueue`, `identity`, `routes`, `servers`, `window`. Edges: `proxy`, `spool`,
`health`, `watcher`, `app`, `admin`, `metrics`. `scheduler` binds queue and servers. It imports neither kopf nor the
operator, and holds no cloud credentials.
"""
