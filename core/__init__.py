"""What a formula, ink, an image, a bundle and a search are: numpy and pillow, never torch.

Nothing is imported here, so that `inktex --help` need not wait for numpy.
"""
