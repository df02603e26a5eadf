"""Replays what the real Triton answered (tests/golden-triton) against `culmen serve`."""
import base64
import collections
import http.client
import json
import pathlib
import re
import struct
import zlib

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden-triton"
NOT_COMPARED = {"ns", "last_inference", "platform", "backend", "default_model_filename"}
HEADERS = ("content-type", "content-encoding", "transfer-encoding", "allow", "accept-encoding")
SELECTED, MATCHES_WANTED = 153, 115


def body_of(case):
    if "body_base64" in case:
        return base64.b64decode(case["body_base64"])
    return case.get("body_text", "").encode()


def ask(serve, case):
    """(status, headers in lower case, plain body)."""
    connection = http.client.HTTPConnection(serve.address(case.get("port", "http")), timeout=20)
    connection.putrequest(case["method"], case["path"], skip_accept_encoding=True)
    body = body_of(case)
    names = {name.lower() for name, _ in case.get("headers", [])}
    for name, value in case.get("headers", []):
        connection.putheader(name, value)
    if "content-length" not in names and (body or case["method"] in ("POST", "PUT")):
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    data = answer.read()
    connection.close()
    if data and headers.get("content-encoding") in ("gzip", "deflate"):
        data = zlib.decompress(data, 47)
    return answer.status, headers, data


def number(value):
    """As FP32: 0.1 and 0.10000000149011612 are the same answer."""
    if value != value or value in (float("inf"), float("-inf")):
        return repr(value)
    if value == int(value) and abs(value) < 1e15:
        return int(value)
    return struct.unpack("f", struct.pack("f", value))[0]


def plain(value, hidden, key=None):
    if key in hidden:
        return "<not compared>"
    if isinstance(value, dict):
        return {k: plain(v, hidden, k) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v, hidden, key) for v in value]
    return number(value) if isinstance(value, float) else value


def own_models(value, models):
    """A list of models without those that this repository does not have."""
    if isinstance(value, list) and value and all(isinstance(v, dict) and "name" in v for v in value):
        return sorted((v for v in value if v["name"] in models), key=lambda v: json.dumps(v, sort_keys=True))
    return value


def meaning(case, status, headers, data, models):
    """What of an answer must be equal."""
    out = {"status": status, "headers": {k: headers[k] for k in HEADERS if k in headers}}
    if status >= 400:
        out["headers"].pop("content-type", None)
    if case.get("compare") == "status":
        return out
    hidden = NOT_COMPARED | set(case.get("mask", []))
    size = headers.get("inference-header-content-length")
    if size is not None:
        out["tail"] = data[int(size):]
        data = data[:int(size)]
    try:
        out["body"] = own_models(plain(json.loads(data), hidden), models)
    except ValueError:
        out["body"] = data
    return out


def wanted(case, models):
    answer = case["answer"]
    if "body_base64" in answer:
        data = base64.b64decode(answer["body_base64"])
    else:
        data = answer.get("body_text", "").encode()
    return meaning(case, answer["status"], answer["headers"], data, models)


def is_selected(case, models):
    """The path names a model of the repository, or none; the others ask for models that no server has, or for all."""
    name = re.match(r"/v2/models/([^/?]+)", case["path"])
    return name is None or name[1] in models


def tell(cases, differs, expected, what):
    features = collections.Counter(expected.get(c["name"], "?") for c in cases if c["name"] in differs)
    n_match = len(cases) - sum(features.values())
    print(f"{what}: {n_match} of {len(cases)} match" + "".join(f"; {n} lack: {f}" for f, n in features.items()))
    return n_match


def read_expected():
    """Case -> why it differs."""
    lines = (GOLDEN / "expected.txt").read_text().splitlines()
    return dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))


def test_triton_answers_are_met_but_for_what_is_listed(serve, repository):
    cases = [json.loads(line) for line in (GOLDEN / "cases.jsonl").read_text().splitlines()]
    models = {path.name for path in pathlib.Path(repository).iterdir()}
    expected, differs = read_expected(), {}
    for case in cases:
        got = meaning(case, *ask(serve, case), models)
        if got != wanted(case, models):
            differs[case["name"]] = (wanted(case, models), got)
    selected = [c for c in cases if is_selected(c, models)]
    n_match = tell(selected, differs, expected, "on these models or on none")
    tell([c for c in cases if not is_selected(c, models)], differs, expected, "on unknown models or on all")
    new = {name: differs[name] for name in differs if name not in expected}
    assert not new, "\n".join(f"{name}\n  want {w}\n  got  {g}" for name, (w, g) in new.items())
    fixed = [name for name in expected if name not in differs]
    assert not fixed, f"these match now, take them off expected.txt: {fixed}"
    assert len(selected) == SELECTED and n_match >= MATCHES_WANTED
