"""What a person types; each command answers its flags without JAX.

  console        the process of a command: signals from its first moment on, and its end
  main           the command `jaxdistill`: its first word says which command
  run            a config becomes a finished work dir
  sweep          a grid of runs and the page that compares them
  evaluate       sets side by side, short for `run` with the config of that name
  benchmark      speed on this machine
  local_cluster  a command as several processes here, for rehearsal
  faults         a run killed at random moments and started again
  families       what the commands ask of a family of methods
  listing        the shipped configs, for a terminal and for Markdown
  flags          command lines divided into flags and a config's own fields
  streams        its standard streams, which end no run
  process        the process: exit statuses, messages, devices, the compilation cache

None of them knows a family beyond what `families` asks of it.
"""
