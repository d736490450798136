# One image, two commands: `haipool operator` and `haipool dispatcher`. Built by `make image`.

FROM python:3.12-slim AS build
WORKDIR /src
COPY constraints.txt ./
RUN python -m pip install --no-cache-dir --constraint constraints.txt --upgrade pip
COPY pyproject.toml README.md LICENSE ./
COPY controller controller
COPY crds crds
COPY manifests/samples manifests/samples
RUN python -m venv /opt/haipool \
 && python -m pip --python /opt/haipool/bin/python install --no-cache-dir --no-compile --constraint constraints.txt '.[reencode]' \
 && /opt/haipool/bin/python -m pip uninstall --yes pip \
 && /opt/haipool/bin/python -m compileall -q /opt/haipool \
 && /opt/haipool/bin/haipool --version

FROM python:3.12-slim
# The number the manifests run it under (runAsNonRoot needs a number), and what it may write: bodies, queue, records.
RUN groupadd --gid 65532 haipool \
 && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin haipool \
 && install --directory --owner 65532 --group 65532 --mode 0750 /var/lib/haipool /logs
COPY --from=build /opt/haipool /opt/haipool
ENV PATH=/opt/haipool/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /
ENTRYPOINT ["haipool"]
CMD ["--help"]
