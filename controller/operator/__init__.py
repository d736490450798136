"""The operator process: kopf glue around observe -> plan -> apply.

`handlers` is all that kopf calls; `pools`, `presets` and `instances` reconcile one object each; `lifecycle/` holds one
file per step of an instance's life. Decisions live in `controller.scaling`, cloud calls in `controller.cloud`: a
module here reads, asks the pure core, and writes. Nothing here may be imported by the dispatcher.
"""
