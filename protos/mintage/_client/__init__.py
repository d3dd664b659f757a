"""What the clients are made of; `mintage.client` is what to import."""
