"""Celery, as far as jobs use it."""
