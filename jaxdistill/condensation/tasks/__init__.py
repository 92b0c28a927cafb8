"""The flows of this family, one file a task."""
