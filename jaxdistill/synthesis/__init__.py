"""Images that are learned, for every family that stores or trains on such images.

  engine       one iteration of distribution matching, and the points where methods plug in
  dm, m3d,     methods of condensation, one file a paper; `methods` finds them, and those of users,
  dance        by name
  condensing   a condensation ready for the loop
  portions     classes taken in portions, where cache or memory ask for it
  decode       several images stored in one canvas, and how canvases begin
  condensed    a condensed set and its file
  fit          whether a set and real images go together
  export       a condensed set for other programs: PNG files, TensorFlow Datasets

A canvas is a stored image; what a network sees is decoded from it.
"""
