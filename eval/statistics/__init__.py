"""What may be said of scores: intervals, tests of a difference, and how many questions it takes.

Questions about one document, or from one template, are alike. Everything here is told which questions hang together and treats them as
one draw; where nothing hangs together, every question is a cluster of its own.
"""
