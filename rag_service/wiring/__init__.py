"""The composition root: the only place that names concrete classes together.

Settings and stored artefacts go in; encoders, index versions, releases and opened pipelines come out. Heavy packages are imported where
they are chosen, so that serving loads no torch and the extractive generator no LangChain.
"""
