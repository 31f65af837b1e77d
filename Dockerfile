# The service alone; PostgreSQL and Redis are elsewhere. docker build -t rosetta-source-details .
FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements-build.lock requirements-serve.lock ./
# What builds and installs stays in this stage. Every package is pinned by its hash.
RUN python -m venv /builder \
    && /builder/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock \
    && python -m venv --without-pip /app \
    && /builder/bin/pip --python /app/bin/python install --no-cache-dir --require-hashes -r requirements-serve.lock
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY sql sql
COPY migrations migrations
RUN /builder/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && /builder/bin/pip --python /app/bin/python install --no-cache-dir --no-deps --no-index dist/*.whl \
    # 25 MB that a dependency of Litestar's brings to invent examples; the service never imports it.
    && /builder/bin/pip --python /app/bin/python uninstall --yes faker

FROM python:3.13-slim
RUN useradd --system --uid 10001 rosetta
COPY --from=build /app /app
USER 10001
ENV PATH=/app/bin:$PATH ROSETTA_HOST=0.0.0.0 ROSETTA_PORT=8000
EXPOSE 8000
# Past any proxy that the environment names.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['ROSETTA_PORT']), timeout=2); c.request('GET', '/health/live'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["rosetta"]
CMD ["serve"]
