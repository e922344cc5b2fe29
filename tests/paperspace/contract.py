"""What Paperspace's API (v1) documents of the operations that the scripts use, as JSON schemas, and a check against it.

`test_contract.py` compares this table with the official document, where the variable PAPERSPACE_OPENAPI names one.
"""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft202012Validator

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
STATES = ["off", "starting", "stopping", "restarting", "serviceready", "ready", "upgrading", "provisioning"]
EVENT_NAMES = (
    "bill-sessions bill-upgrade create deactivate restart snapshot-create snapshot-delete snapshot-restore start stop "
    "template-create template-delete template-distribute template-import vm-migrate vm-shutdown-force vm-upgrade"
).split()


def one_of(*values: str) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": list(values)}


def nullable(schema: Schema) -> Schema:
    """`schema`, or null."""
    enum = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return schema | {"type": [schema["type"], "null"]} | enum


def record(optional: str = "", **properties: Schema) -> Schema:
    """An object with no other keys than these; those named in `optional` may be absent."""
    required = sorted(set(properties) - set(optional.split()))
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def list_of(item: Schema) -> Schema:
    """A list of such items."""
    return {"type": "array", "items": item}


def page(item: Schema) -> Schema:
    """A page of a listing."""
    return record("nextPage", items=list_of(item), hasMore=BOOLEAN, nextPage=TEXT)


IP_TYPE = one_of("static", "dynamic", "none")
FREQUENCY = one_of("hourly", "daily", "weekly", "monthly")
MACHINE = record(
    "accelerators",
    id=TEXT,
    name=TEXT,
    state=one_of(*STATES),
    os=TEXT,
    machineType=TEXT,
    agentType=TEXT,
    cpus=NUMBER,
    ram=INTEGER,
    storageTotal=INTEGER,
    storageUsed=INTEGER,
    accelerators=nullable(list_of(record(name=TEXT, memory=nullable(INTEGER), count=NUMBER))),
    region=TEXT,
    privateIp=nullable(TEXT),
    networkId=nullable(TEXT),
    publicIp=nullable(TEXT),
    publicIpType=IP_TYPE,
    autoShutdownEnabled=BOOLEAN,
    autoShutdownTimeout=nullable(NUMBER),
    autoShutdownForce=nullable(BOOLEAN),
    autoSnapshotEnabled=BOOLEAN,
    autoSnapshotFrequency=nullable(FREQUENCY),
    autoSnapshotSaveCount=nullable(NUMBER),
    updatesPending=BOOLEAN,
    restorePointEnabled=BOOLEAN,
    restorePointFrequency=nullable(one_of("shutdown")),
    restorePointSnapshotId=nullable(TEXT),
    usageRate=NUMBER,
    storageRate=NUMBER,
    dtCreated=TEXT,
    dtModified=TEXT,
    dtDeleted=nullable(TEXT),
    reservation=nullable(
        record(name=TEXT | {"minLength": 1}, id=TEXT, dtStarted=TEXT, dtFinished=TEXT, isActive=BOOLEAN)
    ),
)
EVENT = record(
    id=TEXT,
    name=one_of(*EVENT_NAMES),
    state=one_of("new", "in progress", "done", "error", "cancelled"),
    machineId=nullable(TEXT),
    dtCreated=TEXT,
    dtStarted=nullable(TEXT),
    dtFinished=nullable(TEXT),
    error=nullable(TEXT),
)
CHANGED = record(data=MACHINE, event=EVENT)
PUBLIC_IP = record("assignedMachineId", ip=TEXT, region=TEXT, assignedMachineId=TEXT, dtCreated=TEXT)
SNAPSHOT = record(id=TEXT, name=TEXT, machineId=TEXT, isAutoSnapshot=BOOLEAN)
TEMPLATE = record(
    id=TEXT,
    name=TEXT,
    agentType=TEXT,
    operatingSystemLabel=TEXT,
    defaultSizeGb=nullable(NUMBER),
    availableMachineTypes=list_of(record(machineTypeLabel=TEXT, isAvailable=BOOLEAN)),
    dtCreated=TEXT,
)
NEW_MACHINE = record(
    "networkId publicIpType autoSnapshotEnabled autoSnapshotFrequency autoSnapshotSaveCount autoShutdownEnabled "
    "autoShutdownTimeout autoShutdownForce takeInitialSnapshot restorePointEnabled restorePointFrequency "
    "startupScriptId emailPassword startOnCreate enableNvlink accessorIds",
    name=TEXT | {"minLength": 1},
    machineType=TEXT,
    templateId=TEXT,
    diskSize=NUMBER,
    region=TEXT,
    networkId=TEXT,
    publicIpType=IP_TYPE,
    autoSnapshotEnabled=BOOLEAN,
    autoSnapshotFrequency=FREQUENCY,
    autoSnapshotSaveCount=NUMBER,
    autoShutdownEnabled=BOOLEAN,
    autoShutdownTimeout=NUMBER,
    autoShutdownForce=BOOLEAN,
    takeInitialSnapshot=BOOLEAN,
    restorePointEnabled=BOOLEAN,
    restorePointFrequency=one_of("shutdown"),
    startupScriptId=TEXT,
    emailPassword=BOOLEAN,
    startOnCreate=BOOLEAN,
    enableNvlink=BOOLEAN,
    accessorIds=list_of(TEXT),
)
CHANGES = {
    "name": TEXT,
    "machineType": TEXT,
    "diskSize": NUMBER,
    "networkId": TEXT,
    "publicIpType": IP_TYPE,
    "autoSnapshotEnabled": BOOLEAN,
    "autoSnapshotFrequency": FREQUENCY,
    "autoSnapshotSaveCount": NUMBER,
    "autoShutdownEnabled": BOOLEAN,
    "autoShutdownTimeout": NUMBER,
    "autoShutdownForce": BOOLEAN,
    "restorePointEnabled": BOOLEAN,
    "restorePointFrequency": one_of("shutdown"),
    "restorePointSnapshotId": TEXT,
}
TEAM = record(
    "publicProfileImageUrl",
    name=TEXT,
    id=TEXT,
    namespace=TEXT,
    publicProfileImageUrl=nullable(TEXT),
    isUserTeam=BOOLEAN,
    dtCreated=TEXT,
)
PREFERENCES = record(
    "defaultProduct defaultTeamId theme fontSize disableHotkeys",
    defaultProduct=nullable(TEXT),
    defaultTeamId=nullable(TEXT),
    theme=nullable(one_of("light", "dark")),
    fontSize=nullable(NUMBER),
    disableHotkeys=nullable(BOOLEAN),
)
SURVEY: Schema = {"type": ["object", "null"], "additionalProperties": TEXT}
METADATA = record(
    "tags coreSurvey gradientSurvey graphcoreTermsAccepted",
    tags=nullable(TEXT),
    coreSurvey=SURVEY,
    gradientSurvey=SURVEY,
    graphcoreTermsAccepted=BOOLEAN,
)
USER = record(
    "preferences",
    firstName=nullable(TEXT),
    lastName=nullable(TEXT),
    email=TEXT,
    dtCreated=TEXT,
    dtConfirmed=nullable(TEXT),
    teamMemberships=list_of(record(team=TEAM, isOwner=BOOLEAN, isAdmin=BOOLEAN)),
    isPhoneVerified=BOOLEAN,
    isPasswordAuthEnabled=BOOLEAN,
    isQrCodeBasedMfaEnabled=BOOLEAN,
    isQrCodeBasedMfaConfirmed=BOOLEAN,
    preferences=nullable(PREFERENCES),
    id=TEXT,
    analyticsId=NUMBER,
    metadata=METADATA,
)
OWN_TEAM = record(namespace=TEXT, isPrivate=BOOLEAN, maxMachines=NUMBER, id=TEXT, analyticsId=NUMBER)
SESSION = nullable(record(user=USER, team=OWN_TEAM))
SCRIPT = record(
    id=TEXT,
    name=TEXT,
    description=nullable(TEXT),
    isEnabled=BOOLEAN,
    isRunOnce=BOOLEAN,
    assignedMachineIds=list_of(TEXT),
    dtCreated=TEXT,
    dtDeleted=nullable(TEXT),
)
ERROR = record("details", message=TEXT, code=TEXT, details={"type": "object"})

PAGING = {"after": TEXT, "limit": INTEGER | {"minimum": 1, "maximum": 120}, "order": one_of("asc", "desc")}


@dataclass(frozen=True)
class Operation:
    """What may be asked in the query and the body, what must be, and what a success answers."""

    answer: Schema
    query: dict[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    body: Schema | None = None


OPERATIONS = {
    "GET /auth/session": Operation(SESSION),
    "GET /machines": Operation(
        page(MACHINE),
        PAGING
        | {"orderBy": one_of("dtCreated", "name", "state")}
        | dict.fromkeys(("name", "region", "agentType", "machineType"), TEXT),
    ),
    "POST /machines": Operation(CHANGED, body=NEW_MACHINE),
    "GET /machines/{id}": Operation(MACHINE),
    "PUT /machines/{id}": Operation(
        record("event", data=MACHINE, event=EVENT), body=record(" ".join(CHANGES), **CHANGES)
    ),
    "PATCH /machines/{id}/start": Operation(CHANGED),
    "PATCH /machines/{id}/stop": Operation(CHANGED),
    "DELETE /machines/{id}": Operation(CHANGED),
    "GET /machine-events": Operation(page(EVENT), PAGING | {"orderBy": one_of("dtCreated"), "machineId": TEXT}),
    "GET /machine-events/{id}": Operation(EVENT),
    "GET /machine-availability": Operation(
        record(available=BOOLEAN), {"machineType": TEXT, "region": TEXT}, ("machineType", "region")
    ),
    "GET /os-templates": Operation(page(TEMPLATE), PAGING | {"orderBy": one_of("name"), "name": TEXT}),
    "GET /public-ips": Operation(page(PUBLIC_IP), PAGING | {"orderBy": one_of("dtCreated"), "region": TEXT}),
    "POST /public-ips": Operation(PUBLIC_IP, body=record(region=TEXT)),
    "PUT /public-ips/{ip}": Operation(PUBLIC_IP, body=record(machineId=nullable(TEXT))),
    "DELETE /public-ips/{ip}": Operation(record(ip=TEXT)),
    "GET /startup-scripts": Operation(page(SCRIPT), PAGING | {"orderBy": one_of("dtCreated", "name"), "name": TEXT}),
    "POST /startup-scripts": Operation(SCRIPT, body=record("isRunOnce", name=TEXT, script=TEXT, isRunOnce=BOOLEAN)),
    "GET /snapshots": Operation(page(SNAPSHOT), PAGING | {"orderBy": one_of("dtCreated", "name"), "machineId": TEXT}),
}


def errors(schema: Schema, value: Any) -> list[str]:
    """What of `value` breaks `schema`."""
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(value)]


def match(method: str, path: str) -> tuple[str, list[str]]:
    """The operation, e.g. `GET /machines/{id}`, and the values in its path; ("", []) where there is none."""
    for name in OPERATIONS:
        known, template = name.split()
        found = re.fullmatch(re.sub(r"\{\w+\}", "([^/]+)", template), path)
        if known == method and found:
            return name, [unquote(value) for value in found.groups()]
    return "", []


def request_errors(operation: Operation, query: dict[str, str], content_type: str | None, body: Any) -> list[str]:
    """What of a request breaks the document; `body` is None where none was sent."""
    found = [f"query: {name} is missing" for name in operation.required if name not in query]
    for name, value in query.items():
        schema = operation.query.get(name)
        if schema is None:
            found.append(f"query: {name} is not known")
        else:
            number = schema["type"] == "integer" and value.isdigit()
            found += [f"query: {name}: {error}" for error in errors(schema, int(value) if number else value)]
    if operation.body is not None:
        found += errors(operation.body, body)
        found += [] if content_type == "application/json" else [f"content type: {content_type}"]
    elif body is not None or content_type is not None:
        found.append(f"a body or a content type where there is none: {content_type} {body!r}")
    return found
