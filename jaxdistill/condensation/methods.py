"""The methods of this family by name, and how a user adds one: see `synthesis.methods`, where other
families find them too."""

from jaxdistill.synthesis.methods import LABELS, METHODS, check, find, plugs, register, wants

__all__ = ['LABELS', 'METHODS', 'check', 'find', 'plugs', 'register', 'wants']
