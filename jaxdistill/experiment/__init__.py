"""What every flow does around its phases.

  schema       sections of a config declared once: checks, values, defaults
  sections     the sections and fields that the configs of every family, or every comparison, have
  checking     the checks of any config beyond those of its fields: folders, methods
  explain      what is told of the fields: for --dry_run, for a page
  arguments    what stands behind a config's file name or is handed to a function in its place, and
               the list of it in the header
  datasets     the images of a run: loaded, a share held out, streamed where they are many;
               runs on images that are there already
  estimates    how long a run will take and what memory it needs, told before it starts
  kept         what runs keep for each other, found again by a hash of all that decides it
  running      a run of one method, or of several: each trained once, said, a row of the table
  rows         networks side by side: curves, paired differences, comparisons
  results      rows and result.json
  page         what the page of any run holds
  aggregate    rows of many runs, sorted into groups that differ in nothing but the seed
  comparison   the page that compares the runs of a sweep

No field of any family is known here: a family hands in values.
"""
