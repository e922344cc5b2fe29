"""What the fake API's account has beside its machines: addresses, startup scripts, snapshots; and deleting."""

from typing import Any

from .fake_machine import Machine, RefusalError, new_event, now


class Account:
    """Addresses are billed until they are released, whether or not a machine has them."""

    def __init__(self) -> None:
        self.machines: list[Machine] = []
        self.ips: list[dict[str, Any]] = []
        self.snapshots: list[dict[str, Any]] = []
        self.scripts: list[dict[str, Any]] = []
        self.script_texts: dict[str, str] = {}
        self.releases_only_unassigned = False

    def find(self, identity: str) -> Machine:
        """The machine, while it is there; one that is being deleted is seen for some looks more."""
        found = [machine for machine in self.machines if machine.data["id"] == identity]
        if found and found[0].looks_left == 0:
            self.machines.remove(found[0])
        if not found or found[0].looks_left == 0:
            raise RefusalError("Machine not found", 404)
        if found[0].looks_left:
            found[0].looks_left -= 1
        return found[0]

    def delete(self, identity: str) -> dict[str, Any]:
        """Its addresses stay, of no machine."""
        machine = self.find(identity)
        if machine.state != "off":
            raise RefusalError(f"Machine cannot be deleted while it is {machine.state}")
        for entry in self.ips:
            if entry.get("assignedMachineId") == identity:
                del entry["assignedMachineId"]
        machine.looks_left = 2
        return {"data": machine.data, "event": new_event("deactivate", identity)}

    def assign(self, ip: str, identity: str | None) -> dict[str, Any]:
        """Gives the address to a machine, or to none."""
        entry = self.claimed(ip)
        entry.pop("assignedMachineId", None)
        if identity is not None:
            self.find(identity).data |= {"publicIp": ip, "publicIpType": "static"}
            entry["assignedMachineId"] = identity
        return entry

    def release(self, ip: str) -> dict[str, Any]:
        """Gives the address back."""
        entry = self.claimed(ip)
        if self.releases_only_unassigned and "assignedMachineId" in entry:
            raise RefusalError("Public IP is assigned to a machine")
        self.ips.remove(entry)
        return {"ip": ip}

    def claimed(self, ip: str) -> dict[str, Any]:
        entry = next((entry for entry in self.ips if entry["ip"] == ip), None)
        if entry is None:
            raise RefusalError("Public IP not found", 404)
        return entry

    def add_script(self, body: dict[str, Any]) -> dict[str, Any]:
        """A script that machines run when they start; its text is not shown again."""
        script = {"id": f"ss{len(self.scripts)}", "name": body["name"], "description": None, "isEnabled": True}
        script |= {"isRunOnce": body.get("isRunOnce", False), "assignedMachineIds": []}
        self.scripts.append(script | {"dtCreated": now(), "dtDeleted": None})
        self.script_texts[script["id"]] = body["script"]
        return self.scripts[-1]
