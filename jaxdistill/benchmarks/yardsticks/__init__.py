"""Programs that time other packages as this library is timed; each ends with a line of JSON."""
