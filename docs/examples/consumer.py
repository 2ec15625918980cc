#!/usr/bin/env python3
"""A consumer in Python, of the standard library alone: it takes one message after another from a Redis list, has a program
work on each, and tells Longhaul whether it works. See docs/consumers.md."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Worker:
    """What the consumer does. A message is taken with the lock held, so that a fence is answered either before or after."""

    def __init__(self, hold):
        self.changed = threading.Condition()
        self.message = None
        self.fenced = self.held = True
        self.stopped = False
        timer = threading.Timer(hold, self.lapse)
        timer.daemon = True
        timer.start()

    def lapse(self):
        """Ends the hold at the start, if nobody has asked anything."""
        with self.changed:
            self.fenced = self.fenced and not self.held
            self.changed.notify_all()

    def take(self, receive):
        """Waits for a message; None once it is to stop."""
        while True:
            with self.changed:
                while self.fenced and not self.stopped:
                    self.changed.wait()
                if self.stopped:
                    return None
                self.message = receive()
                if self.message is not None:
                    return self.message
                self.changed.wait(0.2)

    def done(self):
        with self.changed:
            self.message = None
            self.changed.notify_all()

    def stop(self):
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def state(self):
        if self.message is not None:
            return {"busy": True, "messageID": self.message}
        return {"busy": False, "fenced": True} if self.fenced else {"busy": False}

    def fence(self):
        """Says whether it is drained."""
        with self.changed:
            if self.message is not None:
                return False
            self.fenced, self.held = True, False
            return True

    def unfence(self):
        with self.changed:
            self.fenced = False
            self.changed.notify_all()

    def drain(self):
        """Waits until it is drained."""
        with self.changed:
            self.fenced, self.held = True, False
            while self.message is not None:
                self.changed.wait()


def handler(worker):
    class Handler(BaseHTTPRequestHandler):
        def answer(self, code):
            with worker.changed:
                body = json.dumps(worker.state()).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            if self.path == "/longhaul/fence":
                worker.drain()
            self.answer(200 if self.path in ("/longhaul/state", "/longhaul/fence") else 404)

        def do_POST(self):
            self.answer(200 if worker.fence() else 409)

        def do_DELETE(self):
            worker.unfence()
            self.answer(200)

        def log_message(self, *_):
            pass

    return Handler


class Redis:
    """As much of Redis' protocol as a list needs."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.file = self.socket.makefile("rb")

    def ask(self, *words):
        words = [str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        line = self.file.readline()
        if not line:
            raise ConnectionError("Redis hung up")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise ConnectionError(rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2].decode()
        return rest.decode()


def main():
    address, queue = os.environ["REDIS"], os.environ["LIST"]
    host, _, port = os.environ.get("LISTEN", ":8081").rpartition(":")
    held = queue + ":processing"
    worker = Worker(float(os.environ.get("HOLD", "10")))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=worker.stop).start())
    server = ThreadingHTTPServer((host, int(port)), handler(worker))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    redis = Redis(address)
    while (message := worker.take(lambda: redis.ask("LMOVE", queue, held, "LEFT", "RIGHT"))) is not None:
        failed = subprocess.run([os.environ["WORK"], message], check=False).returncode
        # Acknowledged when the work is done. One that fails goes to another list.
        if failed:
            redis.ask("RPUSH", queue + ":failed", message)
        redis.ask("LREM", held, 1, message)
        worker.done()


if __name__ == "__main__":
    sys.exit(main())
