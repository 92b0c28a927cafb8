"""Few-shot class-incremental learning: many classes first, then a few new ones at a time from a few
images each, with one classifier over all of them.

`sessions` divides a data set so. A learner is a handful of pure functions, see `learner.Learner`;
`methods` has them by name.
"""

from jaxdistill.fscil.protocol import Sessions, sessions

__all__ = ['Sessions', 'sessions']
