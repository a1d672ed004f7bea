"""An HTTP server for tests, whose answers are as good or as bad as a test wants them."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Server:
    """HTTP server on this machine; `answers` maps method and path to (status, headers, body) or to a function of the request."""

    def __init__(self, root="/dicom-web", tls=None):
        self.requests, self.answers = [], {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                address = urlsplit(self.path)
                self.query = parse_qs(address.query)
                self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append(self)
                answer = outer.answers.get(f"{self.command} {address.path}", (404, {}, b""))
                if callable(answer):
                    answer = answer(self)
                if answer is None:  # it has answered by itself
                    self.close_connection = True
                    return
                status, headers, body = answer
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}{root}"
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
