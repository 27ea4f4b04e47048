"""Models that judge a question and a passage together."""
