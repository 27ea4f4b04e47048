"""The command line, one module a command. `app` puts them together."""
