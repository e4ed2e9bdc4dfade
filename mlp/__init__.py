"""Is a trained multilayer perceptron made of modules?  One file per noun of the method."""


class InputError(ValueError):
    """Something given from outside cannot be used; the message names it and the remedy."""
