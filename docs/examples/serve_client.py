"""A client of `shelflife serve`, over HTTP with Python's own library or over ZeroMQ with pyzmq.

    python3 serve_client.py http://127.0.0.1:8080 '{"id": "a1", "title": "Storm reaches the coast"}' --video clip.mp4
    python3 serve_client.py tcp://127.0.0.1:5555 '{"id": "a1", "title": "Storm reaches the coast"}' --video clip.mp4

The request's keys are those of docs/serving.md; --video uploads a file, --array NAME=FILE.npy the numbers of a modality. Over ZeroMQ it needs pyzmq and
protobuf, and the schema compiled beside it: `protoc --python_out=. proto/serve.proto`. Prints the answer as JSON; exit code 1 when there is none.
"""
import argparse
import datetime
import http.client
import json
import pathlib
import secrets
import sys
import time
import urllib.parse

TRIES = 5  # when the server is busy it says in how many seconds to come again


def form(request, video, arrays):
    """A multipart/form-data body and its type."""
    boundary = secrets.token_hex(16)
    parts = [("request", "application/json", json.dumps(request).encode())]
    if video is not None:
        parts.append(("video", "application/octet-stream", video))
    parts += [(name, "application/octet-stream", array) for name, array in arrays.items()]
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'.encode() + data + b"\r\n"
        for name, kind, data in parts
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def over_http(url, request, video=None, arrays=None, token=None):
    """The answer as a dict. Raises RuntimeError with what the server said."""
    address = urllib.parse.urlsplit(url)
    if video is None and not arrays:
        body, kind = json.dumps(request).encode(), "application/json"
    else:
        body, kind = form(request, video, arrays or {})
    headers = {"Content-Type": kind}
    if token is not None:
        headers["Authorization"] = "Bearer " + token
    for _ in range(TRIES):
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=120)
        try:
            connection.request("POST", "/v1/predict", body, headers)
            response = connection.getresponse()
            answer = json.load(response)
        finally:
            connection.close()
        if response.status == 200:
            return answer
        if response.status != 503:
            break
        time.sleep(int(response.headers["Retry-After"]))
    raise RuntimeError(f"{response.status}: {answer['error']}")


def seconds(text):
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


def over_zeromq(endpoint, request, video=None, arrays=None, keys=None):
    """The answer as a shelflife.serve.Reply. keys: a folder with server.pub, client.key and client.pub."""
    import zmq

    from proto import serve_pb2

    message = serve_pb2.Request(version=1)
    for key in ("id", "title", "ocr", "asr", "video"):
        if request.get(key) is not None:
            setattr(message, key, request[key])
    if request.get("published") is not None:
        message.published = seconds(request["published"])
    frames = []
    if video is not None:
        message.tensors.add(kind=serve_pb2.Tensor.VIDEO)
        frames.append(video)
    for name, array in (arrays or {}).items():
        message.tensors.add(kind=serve_pb2.Tensor.NPY, modality=name)
        frames.append(array)

    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.rcvtimeo = 120_000
        if keys is not None:
            def read(name):
                with open(f"{keys}/{name}", "rb") as file:
                    return next(line.strip() for line in file if not line.startswith(b"#"))

            socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = read("server.pub"), read("client.pub"), read("client.key")
        socket.connect(endpoint)
        for _ in range(TRIES):
            socket.send_multipart([message.SerializeToString(), *frames])
            reply = serve_pb2.Reply.FromString(socket.recv())
            if reply.error.code != 503:
                break
            time.sleep(reply.error.retry_after)
    if reply.HasField("error"):
        raise RuntimeError(f"{reply.error.code}: {reply.error.text}")
    return reply


def main():
    parser = argparse.ArgumentParser(description="asks shelflife serve")
    parser.add_argument("server", help="http://HOST:PORT or tcp://HOST:PORT")
    parser.add_argument("request", help="a JSON object")
    parser.add_argument("--video", help="a file to upload")
    parser.add_argument("--array", action="append", default=[], metavar="NAME=FILE.npy")
    parser.add_argument("--token-file")
    parser.add_argument("--keys", help="a folder with server.pub, client.key and client.pub")
    a = parser.parse_args()
    video = pathlib.Path(a.video).read_bytes() if a.video else None
    arrays = {name: pathlib.Path(path).read_bytes() for name, path in (text.split("=", 1) for text in a.array)}
    try:
        if a.server.startswith("http://"):
            token = pathlib.Path(a.token_file).read_text().split()[0] if a.token_file else None
            print(json.dumps(over_http(a.server, json.loads(a.request), video, arrays, token)))
        else:
            from google.protobuf import json_format

            reply = over_zeromq(a.server, json.loads(a.request), video, arrays, a.keys)
            print(json.dumps(json_format.MessageToDict(reply, preserving_proto_field_name=True)))
    except RuntimeError as problem:
        sys.exit(f"{a.server}: {problem}")


if __name__ == "__main__":
    main()
