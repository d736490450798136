"""A Kubernetes API in memory, enough of one for unmodified kubectl, kopf and the official Python client.

What lives here: the object semantics of the API server (metadata, versions, finalizers, schema, CEL, patches, watches)
and their HTTP form. What may not: anything that knows haipool's own kinds; those arrive as CRDs, like on a cluster.
`docs/sandbox-kubernetes.md` says what it does and what it does not do.

Layers, lower ones know nothing of the higher: errors, schema/validation/celrules/selectors/patch/jsonpath (pure) <
kinds, crds (what is served) < store (what is kept) < objects (the verbs) < http, watching, discovery, openapi, tables <
server (start and stop).
"""
