"""A server on loopback that behaves as Paperspace's API does, as far as it is known, with faults on demand.

Each request and each answer is held against `contract.py`; what breaks it is in `violations`.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from . import contract
from .fake_account import Account
from .fake_machine import GB, Machine, RefusalError, new_event, now

GPUS = ("A4000", "P4000", "A100", "A100-80G", "H100")


def types(*labels: str, available: bool = True) -> list[dict[str, Any]]:
    """The machine types that a template fits."""
    return [{"machineTypeLabel": label, "isAvailable": available} for label in labels]


def template(name: str, label: str, fits: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """An image of an operating system; its id is made of its name."""
    return {
        "id": f"t-{name}",
        "name": name,
        "agentType": "LinuxHeadless",
        "operatingSystemLabel": label,
        "defaultSizeGb": 50,
        "availableMachineTypes": types(*GPUS) if fits is None else fits,
        "dtCreated": now(),
    }


def listing() -> list[dict[str, Any]]:
    """Names and labels as the provider listed them in November 2024, in its order: not by what is best."""
    return [
        template("prod-u22-gpu-241021", "Ubuntu 22.04 Desktop"),
        template("prod-u22-cpu-241018", "Ubuntu 22.04 Server", types("C5", *GPUS)),
        template("prod-u20-cpu-241101", "Ubuntu 20.04 Server", types("C5", *GPUS)),
        template("prod-u20-gpu-240606", "Ubuntu 20.04 Desktop"),
        template("mliab-u22-241101", "Ubuntu 22.04", types("A4000", "A100", "A100-80G")),
        template("mliab-u20-241101", "Ubuntu 20.04", types("A4000", "P4000")),
        template("mliab-u22-241101-1x-a100", "Ubuntu 22.04", types("A100", "A100-80G")),
        template("mliab-u22-241108-1x-h100", "Ubuntu 22.04", types("H100")),
        template("mliab-u22-241108-h100", "Ubuntu 22.04", types("H100x8")),
        template("prod-centos7-240606", "CentOS 7 Server", types("C5", *GPUS)),
        template("prod-win10-240606", "Windows 10 (Server 2022)"),
    ]


@dataclass
class Fault:
    """What the next `times` requests of `operation` are answered; `drop` closes the connection instead."""

    operation: str
    status: int = 200
    body: str | dict[str, Any] = ""
    times: float = 1
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    after: bool = False  # the request does its work, and its answer is lost


@dataclass
class Request:
    """What the server received."""

    operation: str
    query: dict[str, str]
    body: Any
    moment: float
    agent: str


class FakeApi(Account):
    """The account: machines, events, templates and addresses. `with FakeApi(key) as api: api.url`."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__()
        self.machines.append(Machine("psmachine", "dnp"))
        self.events: list[dict[str, Any]] = []
        self.templates = listing()
        self.available = True
        self.unchangeable: set[str] = set()  # keys of a machine that a change leaves as they are, without an error
        self.page_size = 120
        self.session = True
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.violations: list[str] = []
        self.on_request: Callable[[str], None] = lambda operation: None
        self.lock = threading.RLock()

    def __enter__(self) -> "FakeApi":
        api = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                api.handle(self)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def machine(self) -> Machine:
        """The machine that most tests are about."""
        return self.machines[0]

    def fault(self, operation: str, status: int = 200, body: str | dict[str, Any] = "", **rest: Any) -> Fault:
        """The next requests of `operation` go wrong in this way; a dict is a body of the API's own errors."""
        fault = Fault(operation, status, body, **rest)
        self.faults.append(fault)
        return fault

    def sent(self, operation: str) -> list[Request]:
        """The requests of `operation` up to now."""
        return [request for request in self.requests if request.operation == operation]

    def handle(self, http: BaseHTTPRequestHandler) -> None:
        """Answers one request."""
        parts = urlsplit(http.path)
        name, values = contract.match(http.command, parts.path.removeprefix("/v1"))
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        length = int(http.headers.get("Content-Length") or 0)
        text = http.rfile.read(length).decode()
        body = json.loads(text) if text else None
        with self.lock:
            self.requests.append(Request(name, query, body, time.monotonic(), http.headers.get("User-Agent", "")))
            self.check_request(name, http, query, body)
        self.on_request(name)
        if refused := refused_agent(http.headers.get("User-Agent", "")):
            send(http, 403, refused, {})
            return
        fault = self.take_fault(name)
        if fault and not fault.after:
            self.answer_fault(http, fault)
            return
        status, answer = self.answer(name, values, query, body, http.headers.get("Authorization", ""))
        if fault:
            self.answer_fault(http, fault)
            return
        schema = contract.OPERATIONS[name].answer if status == 200 and name else contract.ERROR
        self.violations += [f"answer to {name}: {error}" for error in contract.errors(schema, answer)]
        send(http, status, json.dumps(answer), {"Content-Type": "application/json"})

    def check_request(self, name: str, http: BaseHTTPRequestHandler, query: dict[str, str], body: Any) -> None:
        if not name:
            self.violations.append(f"no such operation: {http.command} {http.path}")
            return
        found = contract.request_errors(contract.OPERATIONS[name], query, http.headers.get("Content-Type"), body)
        self.violations += [f"{name}: {error}" for error in found]

    def take_fault(self, name: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.operation in (name, "*") and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def answer_fault(self, http: BaseHTTPRequestHandler, fault: Fault) -> None:
        if fault.drop:
            http.close_connection = True
            return
        if isinstance(fault.body, dict):
            self.violations += contract.errors(contract.ERROR, fault.body)
            send(http, fault.status, json.dumps(fault.body), {"Content-Type": "application/json"} | fault.headers)
        else:
            send(http, fault.status, fault.body, fault.headers)

    def answer(
        self, name: str, values: list[str], query: dict[str, str], body: Any, authorization: str
    ) -> tuple[int, Any]:
        """The status and the body that the API answers."""
        accepted = self.session and authorization == f"Bearer {self.key}"
        if name == "GET /auth/session":
            return 200, session() if accepted else None
        if not accepted:
            return 401, {"code": "UNAUTHORIZED", "message": "Unauthorized"}
        with self.lock:
            try:
                return 200, self.respond(name, values, query, body)
            except RefusalError as refusal:
                return refusal.status, {"code": "BAD_REQUEST", "message": str(refusal)}

    def respond(self, name: str, values: list[str], query: dict[str, str], body: Any) -> Any:
        match name:
            case "GET /machines":
                found = [m.look() for m in self.machines if query.get("name", "") in m.data["name"]]
                return self.page(found, query)
            case "POST /machines":
                return self.create(body)
            case "GET /machines/{id}":
                return self.find(values[0]).look()
            case "PATCH /machines/{id}/start" | "PATCH /machines/{id}/stop":
                machine, verb = self.find(values[0]), name.rpartition("/")[2]
                event = machine.start() if verb == "start" else machine.stop()
                self.events.insert(0, event)
                return {"data": machine.data, "event": event}
            case "PUT /machines/{id}":
                machine = self.find(values[0])
                machine.data |= {key: body[key] for key in body if key not in self.unchangeable}
                return {"data": machine.data}
            case "GET /machine-events":
                found = [e for e in self.events if e["machineId"] == query.get("machineId", e["machineId"])]
                return self.page(found, query)
            case "GET /machine-events/{id}":
                return next(event for event in self.events if event["id"] == values[0])
            case "GET /machine-availability":
                return {"available": self.available}
            case "GET /os-templates":
                return self.page([t for t in self.templates if query.get("name", "") in t["name"]], query)
            case "GET /public-ips":
                return self.page([ip for ip in self.ips if ip["region"] == query.get("region", ip["region"])], query)
            case "POST /public-ips":
                self.ips.append({"ip": f"127.0.1.{len(self.ips) + 1}", "region": body["region"], "dtCreated": now()})
                return self.ips[-1]
            case "PUT /public-ips/{ip}":
                return self.assign(values[0], body["machineId"])
            case "DELETE /public-ips/{ip}":
                return self.release(values[0])
            case "DELETE /machines/{id}":
                return self.delete(values[0])
            case "GET /snapshots":
                return self.page([s for s in self.snapshots if s["machineId"] == query["machineId"]], query)
            case "GET /startup-scripts":
                return self.page([s for s in self.scripts if query.get("name", "") in s["name"]], query)
            case "POST /startup-scripts":
                return self.add_script(body)
        raise RefusalError("no such route", 404)

    def page(self, items: list[Any], query: dict[str, str]) -> dict[str, Any]:
        size = min(self.page_size, int(query.get("limit", 120)))
        begin = int(query.get("after", 0))
        rest = {"nextPage": str(begin + size)} if begin + size < len(items) else {}
        return {"items": items[begin : begin + size], "hasMore": bool(rest), **rest}

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("startupScriptId", "") not in ["", *self.script_texts]:
            raise RefusalError("Startup script not found", 404)
        machine = Machine(f"psnew{len(self.machines)}", body["name"], state="provisioning")
        machine.plan = ["ready"] if body.get("startOnCreate", True) else ["off"]
        machine.data |= {key: body[key] for key in body if key in machine.data}
        machine.data["storageTotal"] = body["diskSize"] * GB
        self.machines.append(machine)
        machine.event = new_event("create", machine.data["id"])
        self.events.insert(0, machine.event)
        return {"data": machine.data, "event": machine.event}


def refused_agent(agent: str) -> str:
    """What the front of the API says to programs that don't say who they are; nothing to others."""
    return "error code: 1010" if not agent or agent.lower().startswith(("curl", "python", "wget")) else ""


def send(http: BaseHTTPRequestHandler, status: int, body: str, headers: dict[str, str]) -> None:
    """Writes an answer; a browser-less client that went away is no error."""
    try:
        http.send_response(status)
        for key, value in {"Content-Length": str(len(body.encode()))}.items() | headers.items():
            http.send_header(key, value)
        http.end_headers()
        http.wfile.write(body.encode())
    except (BrokenPipeError, ConnectionResetError):
        pass


def session() -> dict[str, Any]:
    """Who the key belongs to."""
    long_ago = (datetime.now(timezone.utc) - timedelta(days=400)).isoformat()
    flags = ("isPhoneVerified", "isPasswordAuthEnabled", "isQrCodeBasedMfaEnabled", "isQrCodeBasedMfaConfirmed")
    user = {"firstName": "A", "lastName": None, "email": "a@example.org", "dtCreated": long_ago, "dtConfirmed": None}
    user |= {"teamMemberships": [], "id": "u1", "analyticsId": 1, "metadata": {}} | dict.fromkeys(flags, False)
    team = {"namespace": "team", "isPrivate": False, "maxMachines": 5, "id": "t1", "analyticsId": 2}
    return {"user": user, "team": team}
