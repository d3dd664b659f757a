"""The model server as the service sees it."""
