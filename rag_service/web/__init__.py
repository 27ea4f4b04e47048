"""Pages for people: pure functions from what the service knows to HTML. Nothing here knows HTTP; `api/` serves what these functions give.

Whatever comes out of a document, a question or a model is text on a page: templates escape everything, and no page holds a script or a
style of its own, so that its policy can forbid them.
"""
