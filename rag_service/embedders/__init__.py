"""Encoders: what turns a text into a vector."""

import os

# onnxruntime reads this once, when it is imported. Without it, its builds for Linux keep a device id and a database of events under
# ~/.cache, and look for a collector of the vendor on the network.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
