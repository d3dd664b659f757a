"""The RPC methods, one file a service: check the request, call the domain, make the answer."""

from __future__ import annotations
