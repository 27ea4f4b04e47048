"""How good answers are, on the sets of ../shared/data: what `make eval-quality` prints, and what fits the constants of the service.

Every constant is fitted on the first half of each set's questions and reported on the second. Questions about one document, or one
article, are in one half.
"""
