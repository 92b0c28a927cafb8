"""What the methods of distillation are to the battery over all families."""
