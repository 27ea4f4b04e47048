"""Where versions, releases and encoders lie outside this machine."""
