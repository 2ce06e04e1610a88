"""Numbers out of numbers: what simulations say of a material. Pure functions on arrays; units in every docstring."""
