"""The logs of what happened: JSON lines in daily files, written beside the work and never in its way.

`lines` says what a line and a file are called, `dayfile` and `folder` put lines on the disk, `backlog` holds what the
disk does not take, `writer` is the thread that runs them, `addresses` hides clients. `task`, `server`, `cost` and
`alert` are what the four logs say.
"""
