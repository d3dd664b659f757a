"""What happens inside a network: its hidden activations, what excites them, and what becomes of images without some.

All of it is asked of a plain copy of the network, as it was trained, in float32.
"""
