"""Question answering over documents in which every answer can say what made it. Start reading at `types`."""

__version__ = "0.1.0"
