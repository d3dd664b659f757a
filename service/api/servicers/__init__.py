"""The RPC methods, one file per service: check the request, call the domain, make the answer."""

from __future__ import annotations
