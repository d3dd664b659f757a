"""How long calls may take that wait for model workers to start, or for files. Client and server read this module."""

STARTING_S = 150.0  # in which the workers of a model start and answer a first request; then the server gives up
LOADING_S = STARTING_S + 30.0  # the rest is for copying the archive, and for hearing how it ended
PUSHING_S = 3600.0  # an archive comes at the speed of the network
PUSH_PART_BYTES = 2**20  # of an archive in one message
PUSHING_METHODS = ("/mintage.v1.ModelService/PushArchive",)
LOADING_METHODS = ("/mintage.v1.ModelService/LoadModel", "/mintage.v1.ModelService/ScaleModel")
