"""What a person types: run, sweep, benchmark, faults, local_cluster."""
