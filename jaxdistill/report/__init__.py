"""What a run shows: grids of images, tables of numbers, line charts, and one self-contained HTML
page.

Everything here works on host arrays and strings, and imports neither jax nor a plotting library.

>>> from jaxdistill import report
>>> report.numbers.seconds(75)
'1 min 15 s'
"""

from jaxdistill.report import curves, numbers, page, pictures, tables
from jaxdistill.report.page import Page

__all__ = ['Page', 'curves', 'numbers', 'page', 'pictures', 'tables']
