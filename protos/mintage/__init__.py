"""Mintage's contract (`mintage.v1`) and its Python client (`mintage.client`). Imports nothing else of the project."""
