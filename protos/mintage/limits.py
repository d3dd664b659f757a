"""How long the calls may take that wait for model workers to start. Client and server read this module."""

LOADING_S = 180.0  # a worker has 120 s to start; the rest is for copying the archive and the first inference
LOADING_METHODS = ("/mintage.v1.ModelService/LoadModel", "/mintage.v1.ModelService/ScaleModel")
