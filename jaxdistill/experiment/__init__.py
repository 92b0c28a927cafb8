"""What every flow does around its phases."""
