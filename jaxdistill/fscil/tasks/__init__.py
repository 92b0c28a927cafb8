"""The flows of this family, one file a task: check, run, dry_run and phases of a config.

  learn    one learner through all sessions
  compare  several learners on the same base networks, compared run by run

A config is read here and nowhere below.
"""
