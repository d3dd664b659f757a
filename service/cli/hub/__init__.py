"""Repositories of the Hugging Face hub: what goes there, and how it is sent."""
