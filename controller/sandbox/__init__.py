"""haipool on one machine, for people without a cluster and for tests: `haipool sandbox` and `haipool demo`.

`kubeapi/` is a local Kubernetes API, `cloudsim/` a simulated Tencent Cloud, `gpuserver` the servers it sells; `demo/`
tells the story. Loopback only. Nothing here may be imported by the operator or the dispatcher: they run as their own
processes against it and cannot tell it from the real thing.
"""
