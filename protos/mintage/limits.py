"""How long calls may take that wait for model workers to start, or for files. Client and server read this module."""

LOADING_S = 180.0  # a worker has 120 s to start; the rest is for copying the archive and the first inference
PUSHING_S = 3600.0  # an archive comes at the speed of the network
PUSH_PART_BYTES = 2**20  # of an archive in one message
PUSHING_METHODS = ("/mintage.v1.ModelService/PushArchive",)
LOADING_METHODS = ("/mintage.v1.ModelService/LoadModel", "/mintage.v1.ModelService/ScaleModel")
