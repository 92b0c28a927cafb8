"""The flows of this family, one file a task: check, run, dry_run and phases of a config.

  distill  a teacher, students alone and those of one method
  compare  the students of several methods with one teacher, compared seed by seed

A config is read here and nowhere below.
"""
