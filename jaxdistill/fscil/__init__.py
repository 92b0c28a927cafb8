"""Few-shot class-incremental learning: many classes first, then a few new ones at a time from a few
images each, with one classifier over all of them.

A learner is a handful of pure functions, see `learner.Learner`; `methods` has them by name.
"""
