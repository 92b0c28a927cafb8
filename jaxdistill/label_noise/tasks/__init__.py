"""The flows of this family, one file a task: check, run, dry_run and phases of a config.

  train    the networks of one method
  compare  those of several methods, compared network by network

A config is read here and nowhere below.
"""
