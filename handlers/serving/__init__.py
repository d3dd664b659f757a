"""One queue and one batcher in front of a network, and the socket on which its callers reach them."""
