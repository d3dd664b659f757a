"""The gRPC API, the job engine, the Celery workers and the CLI. Never imports torch (the CLI may, lazily)."""
