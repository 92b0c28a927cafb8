"""What a run shows: grids of images, tables of numbers, line charts, scatter plots, and one
self-contained HTML page.

Everything here works on host arrays and strings, and imports no jax; matplotlib, which draws the
scatter plots, when there is one to draw.

>>> from jaxdistill import report
>>> report.numbers.seconds(75)
'1 min 15 s'
"""

from jaxdistill.report import curves, numbers, page, pictures, plots, tables
from jaxdistill.report.page import Page

__all__ = ['Page', 'curves', 'numbers', 'page', 'pictures', 'plots', 'tables']
