"""A client of a service on this machine."""

import json
import time
from http.client import HTTPConnection
from typing import Any


class Client:
    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, body: object = None) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=40)
        try:
            connection.request("POST" if body else "GET", path, body and json.dumps(body), {"content-type": "application/json"})
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            connection.close()

    def until(self, status: int, path: str, body: object = None, within_s: float = 30) -> Any:
        deadline_s, last = time.monotonic() + within_s, None
        while time.monotonic() < deadline_s:
            try:
                found, last = self.get(path, body)
                if found == status:
                    return last
            except OSError as error:
                last = error
            time.sleep(0.1)
        raise AssertionError(f"{path} did not give {status}: {last}")
