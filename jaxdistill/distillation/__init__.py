"""Distillation: students that learn from a teacher, smaller than it is or with smaller images.

A method is parts, players and phases, see `method.Method`; `methods` has them by name, and
`methods.register` adds one of your own.
"""
