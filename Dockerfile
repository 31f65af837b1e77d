# The service alone; PostgreSQL and Redis are elsewhere. docker build -t rosetta-source-details .
FROM python:3.13-slim AS build
RUN python -m venv /app
WORKDIR /build
COPY requirements-serve.lock .
RUN /app/bin/pip install --no-cache-dir --require-hashes -r requirements-serve.lock
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY sql sql
COPY migrations migrations
RUN /app/bin/pip install --no-cache-dir --no-deps .

FROM python:3.13-slim
RUN useradd --system --uid 10001 rosetta
COPY --from=build /app /app
USER 10001
ENV PATH=/app/bin:$PATH ROSETTA_HOST=0.0.0.0 ROSETTA_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['ROSETTA_PORT']), timeout=2); c.request('GET', '/health/live'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["rosetta"]
CMD ["serve"]
