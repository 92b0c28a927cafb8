"""The flows of this family, one file a task: check, run and dry_run of a config.

  condense        condense, train networks on the set and on baselines, write the page
  evaluate        sets that are there side by side, on one network or several
  continual       class-incremental learning from condensed memories
  continual_page  its report

A config is read here and nowhere below.
"""
