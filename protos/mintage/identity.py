"""How a client names itself: in the metadata of every call. Client and server read this module."""

import re

CLIENT_KEY = "mintage-client"
CLIENT_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}", re.ASCII)
