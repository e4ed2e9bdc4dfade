"""The networks: what they are made of, the images they see, how they are trained and kept."""


class InputError(ValueError):
    """Something given from outside cannot be used; the message names it and the remedy."""
