"""The keyword half of hybrid search."""
