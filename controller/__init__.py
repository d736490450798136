"""haipool: a Kubernetes operator and a fair task dispatcher for pools of Tencent Cloud HAI GPU servers.

The import package is called `controller`; the distribution and the command are called `haipool`.
"""

__version__ = "0.1.0"
