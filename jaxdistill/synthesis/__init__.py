"""Images that are learned."""
